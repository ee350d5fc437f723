// Command slot is the only program in the images of the remediator's tests on a real engine: a
// runner container in miniature. It leaves on SIGTERM, as the supervisor does; "busy" has a worker
// process and leaves when that has ended; "stubborn" does not leave at all.
package main

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if os.Args[0] == "/bin/Runner.Worker" {
		time.Sleep(time.Hour)
		return
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	var worker exec.Cmd
	if len(os.Args) > 1 && os.Args[1] == "busy" {
		worker = exec.Cmd{Path: "/slot", Args: []string{"/bin/Runner.Worker", "spawnclient", "3", "4"}}
		if err := worker.Start(); err != nil {
			panic(err)
		}
	}
	<-term
	if worker.Process != nil {
		_ = worker.Wait()
	}
	if len(os.Args) > 1 && os.Args[1] == "stubborn" {
		select {}
	}
}
