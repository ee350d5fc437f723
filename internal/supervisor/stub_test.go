package supervisor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary also the stub of the Actions listener and of a job's processes,
// chosen by the name of the program.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "Runner.Listener":
		os.Exit(stubListener())
	case "Runner.Worker", "leftover":
		select {}
	}
	os.Exit(m.Run())
}

// ls returns the names in a directory.
func ls(dir string) []string {
	var names []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil {
		names = append(names, err.Error())
	}
	return names
}

// show returns the content of a file, and its mode.
func show(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	info, err := os.Stat(path)
	return fmt.Sprint(string(data), " ", info.Mode(), " ", err)
}

const stubStamp = "2026-08-20 12:00:00Z: "

// stubListener prints and exits as the Actions runner does. The just-in-time configuration says
// which behavior.
func stubListener() int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGUSR1)
	if len(os.Args) != 2 || os.Args[1] != "run" {
		fmt.Fprintln(os.Stderr, "wrong arguments", os.Args)
		return 42
	}
	for _, name := range []string{".runner", ".credentials", ".credentials_rsaparams"} {
		if err := os.WriteFile(name, []byte("key of "+os.Getenv(jitVariable)), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 43
		}
	}
	fmt.Printf("\n√ Connected to GitHub\n\nuid=%d gid=%d pgid=%d pid=%d\n", os.Getuid(), os.Getgid(), syscall.Getpgrp(), os.Getpid())
	listen := func() { fmt.Print("Current runner version: '2.336.0'\n" + stubStamp + "Listening for Jobs\n") }
	running := func() { fmt.Println(stubStamp + "Running job: build") }
	done := func(result string) int {
		fmt.Println(stubStamp + "Job build completed with result: " + result)
		_ = os.Remove(".runner")
		_ = os.Remove(".credentials")
		return 0
	}
	switch behavior, _, _ := strings.Cut(os.Getenv(jitVariable), "|"); behavior {
	case "job":
		listen()
		running()
		_ = os.WriteFile("_work/leaked", nil, 0o600)
		_ = os.WriteFile("_diag/Worker.log", nil, 0o600)
		_ = os.WriteFile(filepath.Join(os.Getenv("MORE"), "of-the-job"), nil, 0o600)
		_ = os.WriteFile(filepath.Join(os.Getenv("HOME"), ".bashrc"), nil, 0o600)
		fmt.Println("at home:", ls(os.Getenv("HOME")))
		fmt.Println("login:", show(filepath.Join(os.Getenv("HOME"), ".docker", "config.json")))
		_ = os.WriteFile("environ", []byte(strings.Join(os.Environ(), "\n")), 0o600)
		return done("Succeeded")
	case "hostile job":
		listen()
		running()
		_ = os.WriteFile(".env", []byte("LD_PRELOAD=evil"), 0o600)
		_ = os.Rename("bin", "bin.old")
		return done("Succeeded")
	case "job with leftover":
		listen()
		running()
		// The job leaves a process with its own session that holds the streams open.
		left := exec.CommandContext(context.Background(), "/proc/self/exe")
		left.Args = []string{"leftover"}
		left.Stdout, left.Stderr = os.Stdout, os.Stderr
		left.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := left.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 44
		}
		fmt.Println("leftover pid", left.Process.Pid)
		return done("Succeeded")
	case "busy":
		listen()
		running()
		if <-signals == syscall.SIGUSR1 {
			return done("Succeeded")
		}
		fmt.Println("Exiting...")
		return done("Canceled")
	case "worker only", "worker": // a worker runs; the line about it is not there yet, or is
		worker := exec.CommandContext(context.Background(), "/proc/self/exe")
		worker.Args = []string{"Runner.Worker"}
		if err := worker.Start(); err != nil {
			return 44
		}
		listen()
		if behavior == "worker" {
			running()
		}
		if <-signals == syscall.SIGINT {
			fmt.Println("Exiting...")
			return 0
		}
		_ = worker.Process.Kill()
		if behavior == "worker only" {
			running()
		}
		return done("Succeeded")
	case "idle":
		listen()
		<-signals
		fmt.Println("Exiting...")
		return 0
	case "used up":
		listen()
		fmt.Println("[RUNNER 2026-08-20 12:00:00Z INFO Runner] Skipping message Job. Job message conflict")
		<-signals
		fmt.Println("Exiting...")
		return 0
	case "silent with a job's message":
		listen()
		fmt.Println("[RUNNER 2026-08-20 12:00:00Z INFO Runner] Acknowledging runner request '1'.")
		<-signals
		return 0
	case "silent with a job":
		listen()
		running()
		<-signals
		return 0
	case "deaf":
		signal.Ignore(syscall.SIGINT)
		listen()
		select {}
	case "hangs after its job":
		listen()
		running()
		done("Succeeded")
		select {}
	case "exit 2":
		listen()
		fmt.Fprintln(os.Stderr, "An error occurred: something")
		return 2
	case "conflict":
		fmt.Fprintln(os.Stderr, "A session for this runner already exists.")
		fmt.Fprintln(os.Stderr, "Failed to create session. Error: Conflict")
		return 5
	case "deleted":
		fmt.Fprintln(os.Stderr, "Failed to create a session. The runner registration has been deleted from the server, please re-configure.")
		return 1
	case "exit 7":
		listen()
		fmt.Fprintln(os.Stderr, "An error occurred: Runner version v2.300.0 is deprecated and cannot receive messages.")
		return 7
	case "exit 0":
		listen()
		fmt.Fprintln(os.Stderr, "The runner no longer exists on the server. Cleaning up local configuration.")
		return 0
	case "crash":
		listen()
		running()
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	}
	return 45
}
