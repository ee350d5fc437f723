// Command actor plays the parts of the containers in the tests of package engine. It is built
// static and put alone into an image.
//
//	actor sleep                 wait for SIGTERM; SIGUSR2 makes it well, SIGUSR1 sick again; prints a line when it listens
//	actor stubborn              the same, but ignore SIGTERM
//	actor check                 exit 1 unless well (the health check)
//	actor count N [PAUSE]       print N numbered lines in turn to stdout and stderr, then sleep
//	actor long N...             print a line of each length, each followed by a short one, then sleep
//	actor flood                 print without end
//	actor worker                be the parent of a process called Runner.Worker
//	actor exit CODE             print one line and exit
//	actor eat                   be the parent of a process that uses memory without end, again and again
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

const well = "/well"

func main() {
	if os.Args[0] == "Runner.Worker" {
		sleep(true, "")
	}
	switch args := os.Args[2:]; os.Args[1] {
	case "sleep":
		sleep(true, "listening\n")
	case "stubborn":
		sleep(false, "listening\n")
	case "check":
		if _, err := os.Stat(well); err != nil {
			os.Exit(1)
		}
	case "count":
		var pause time.Duration
		if len(args) > 1 {
			pause, _ = time.ParseDuration(args[1])
		}
		count(number(args[0]), pause)
		sleep(true, "")
	case "long":
		for i, n := range args {
			w := bufio.NewWriter(os.Stdout)
			_, _ = w.Write(bytes.Repeat([]byte{byte('a' + i)}, number(n)))
			fmt.Fprintf(w, "\nshort %d\n", i)
			_ = w.Flush()
		}
		sleep(true, "")
	case "flood":
		for w := bufio.NewWriter(os.Stdout); ; {
			fmt.Fprintln(w, "the quick brown fox jumps over the lazy dog, again and again, and there is no end to it")
		}
	case "worker":
		cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{"Runner.Worker", "spawnclient", "97", "100"}}
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		sleep(true, "")
	case "exit":
		fmt.Println("last words")
		os.Exit(number(args[0]))
	case "eat":
		for {
			_ = (&exec.Cmd{Path: "/proc/self/exe", Args: []string{"actor", "devour"}}).Run()
		}
	case "devour":
		var held [][]byte
		for {
			held = append(held, bytes.Repeat([]byte{1}, 1<<20))
		}
	}
}

// count takes the run's number from a file, which outlives a restart, so that no two lines are
// alike.
func count(n int, pause time.Duration) {
	const file = "/run-number"
	old, _ := os.ReadFile(file)
	run := len(old) + 1
	_ = os.WriteFile(file, append(old, 'x'), 0o600)
	// Ends between two lines: on a terminal, half a line would run into the first one of the next
	// run.
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	leave := func() {
		select {
		case <-term:
			os.Exit(0)
		default:
		}
	}
	for i := range n {
		leave()
		out := os.Stdout
		if i%2 == 1 {
			out = os.Stderr
		}
		fmt.Fprintf(out, "run %d line %d\n", run, i)
		time.Sleep(pause)
	}
	signal.Stop(term)
	leave()
}

func sleep(obey bool, greeting string) {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	fmt.Print(greeting)
	for s := range c {
		switch s {
		case syscall.SIGUSR1:
			_ = os.Remove(well)
		case syscall.SIGUSR2:
			_ = os.WriteFile(well, nil, 0o600)
		case syscall.SIGTERM:
			if obey {
				os.Exit(0)
			}
		}
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return n
}
