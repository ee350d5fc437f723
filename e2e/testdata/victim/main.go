// Victim is the process of a container that is unhealthy until its first restart. "victim check" is
// its health check. VICTIM_EATS is a number of MiB of memory to allocate, VICTIM_RESERVES of bytes
// of disk.
package main

import (
	"errors"
	"log"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
)

// lives grows by one byte with each start; the container's layer keeps it over a restart.
const lives = "/lives"

func main() {
	log.SetFlags(0)
	if len(os.Args) == 2 && os.Args[1] == "check" {
		info, err := os.Stat(lives)
		if err != nil {
			log.Fatal(err)
		}
		if info.Size() < 2 {
			log.Fatal("the first life")
		}
		return
	}
	if eats, err := strconv.Atoi(os.Getenv("VICTIM_EATS")); err == nil {
		belly := make([]byte, eats<<20)
		for i := range belly {
			belly[i] = byte(i)
		}
		defer runtime.KeepAlive(belly)
	}
	if bytes, err := strconv.ParseInt(os.Getenv("VICTIM_RESERVES"), 10, 64); err == nil {
		if err := reserve(bytes); err != nil {
			log.Fatal(err)
		}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	f, err := os.OpenFile(lives, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := f.Write([]byte{'x'}); err != nil {
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}
	<-stop
}

// reserve allocates blocks for a file without writing them.
func reserve(bytes int64) error {
	f, err := os.Create("/reserved")
	if err != nil {
		return err
	}
	return errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, bytes), f.Close())
}
