// Command talker prints what a runner prints, for the tests of the exporter on a real engine. It is
// built static and put alone into an image.
//
//	talker life N PAUSE       N times: an outage, its end, and a job that prints; then a failure, an outage that lasts, and "done"
//	talker beat PAUSE         a job after each pause, without end
//	talker flood RATE TIME    a job that prints RATE bytes a minute, for so long; then the number of lines
//
// All of them wait for SIGTERM then. Lines end where they should: on a terminal, half a line would
// run into the next run.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// noise is a line of a job's output as the worker prints it.
const noise = "[WORKER 2026-11-25 12:00:00Z INFO ProcessInvokerWrapper] STDOUT/STDERR stream read: go: downloading github.com/prometheus/client_golang v1.23.2, and what a build prints besides"

var stop = make(chan os.Signal, 1)

func main() {
	signal.Notify(stop, syscall.SIGTERM)
	switch args := os.Args[2:]; os.Args[1] {
	case "life":
		life(number(args[0]), duration(args[1]))
	case "beat":
		for n := 1; ; n++ {
			job(n, 0)
			wait(duration(args[0]))
		}
	case "flood":
		flood(number(args[0]), duration(args[1]))
	default:
		os.Exit(2)
	}
	wait(24 * time.Hour)
}

func life(rounds int, pause time.Duration) {
	fmt.Printf("√ Connected to GitHub\nCurrent runner version: '2.336.0'\n")
	say(os.Stdout, "Listening for Jobs")
	for n := range rounds {
		outage()
		wait(pause)
		say(os.Stdout, "Runner reconnected.")
		job(n, n%50)
		wait(pause)
	}
	fmt.Println("Failed to create session. Something else")
	outage()
	fmt.Println("done")
}

func outage() {
	say(os.Stderr, "Runner connect error: Name or service not known (broker.actions.githubusercontent.com:443). Retrying until reconnected.")
}

func job(n, prints int) {
	say(os.Stdout, fmt.Sprintf("Running job: build (%d)", n))
	fmt.Print(strings.Repeat(noise+"\n", prints))
	say(os.Stdout, fmt.Sprintf("Job build (%d) completed with result: Succeeded", n))
}

// say prints a line of the listener.
func say(to *os.File, text string) {
	fmt.Fprintf(to, "%sZ: %s\n", time.Now().UTC().Format(time.DateTime), text)
}

func flood(perMinute int, whole time.Duration) {
	const batches = 50 // a second
	say(os.Stdout, "Running job: flood")
	lines, begun := 1, time.Now()
	batch := max(1, perMinute/60/batches/(len(noise)+1))
	text := strings.Repeat(noise+"\n", batch)
	for n := 0; time.Since(begun) < whole; n++ {
		fmt.Print(text)
		lines += batch
		wait(time.Until(begun.Add(time.Duration(n+1) * time.Second / batches)))
	}
	say(os.Stdout, "Job flood completed with result: Succeeded")
	fmt.Printf("printed %d lines\n", lines+2)
}

// wait ends the program in between two lines.
func wait(d time.Duration) {
	select {
	case <-stop:
		os.Exit(0)
	case <-time.After(max(0, d)):
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}
