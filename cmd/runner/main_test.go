package main

import (
	"cmp"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/blueguy23/ghostrunner/internal/lab"
)

func TestMain(m *testing.M) {
	root := filepath.Dir(filepath.Dir(os.Args[0]))
	testscript.Main(cleaning{m}, map[string]func(){
		program: func() { // a script may give it another process table
			p := systemPaths
			p.procfs = cmp.Or(os.Getenv("TEST_PROCFS"), p.procfs)
			p.main()
		},
		"Runner.Listener": func() {
			os.Exit(lab.Listener(lab.ListenerOptions{Root: root, Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr}))
		},
		"Runner.Worker": func() { os.Exit(lab.Worker(root, os.Stdin, os.Stdout)) },
	})
}

// cleaning runs all tests, and the cleanups after them.
type cleaning struct{ *testing.M }

func (c cleaning) Run() int {
	_ = flag.Set("test.parallel", "8") // slots wait most of the time; the command line has precedence
	defer func() {
		for _, clean := range cleanups {
			clean()
		}
	}()
	return c.M.Run()
}

func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("these tests are about a program that is PID 1 and root: run them as root")
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, Setup: func(e *testscript.Env) error {
		// For scripts that unset PATH.
		path, err := exec.LookPath(filepath.Join(strings.Split(e.Getenv("PATH"), ":")[0], program))
		e.Setenv("RUNNER", path)
		return err
	}})
}

// A supervisor whose output is no longer read must continue, for its job.
func TestLostOutputDoesNotEndTheProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "healthcheck", "--state-file=/nonexistent")
	cmd.Env = append(os.Environ(), "TEST_PROCFS="+t.TempDir())
	cmd.Args[0], cmd.Stdout, cmd.Stderr = program, w, w
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("%s healthcheck: %v, want exit code 1", program, err)
	}
}
