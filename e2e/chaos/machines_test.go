package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

func named(names ...string) (faults []scenario.Fault) {
	for _, name := range names {
		faults = append(faults, scenario.Fault{Name: name})
	}
	return faults
}

// Every fault is run once, and each machine keeps the order of the list.
func TestFaultsAreDistributed(t *testing.T) {
	for machines, want := range map[int][]string{1: {"abcde"}, 2: {"ace", "bd"}, 3: {"ad", "be", "c"}, 9: {"a", "b", "c", "d", "e"}} {
		var got []string
		for _, share := range distribute(named("a", "b", "c", "d", "e"), machines) {
			var names strings.Builder
			for _, f := range share {
				names.WriteString(f.Name)
			}
			got = append(got, names.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d machines: %q, want %q", machines, got, want)
		}
	}
}

// A machine that fails loses only the faults that it has not run.
func TestFailedMachineLosesItsRest(t *testing.T) {
	todo := named("a", "b", "c", "d", "e")
	failed := errors.New("out of memory")
	all := collect(distribute(todo, 2), [][]row{{{Fault: "a"}, {Fault: "c"}, {Fault: "e"}}, {{Fault: "b"}}}, []error{nil, failed}, todo)
	var got strings.Builder
	for _, r := range all {
		got.WriteString(r.Fault)
		if missing := r.Fault == "d"; (r.Failed != "") != missing {
			t.Errorf("%s: %q", r.Fault, r.Failed)
		}
	}
	if got.String() != "abcde" || !strings.Contains(all[3].Failed, "machine 2 ended (out of memory)") {
		t.Errorf("%s: %+v", got.String(), all)
	}
	// A program that succeeds without having run a fault has not passed it.
	if all := collect(distribute(todo, 1), [][]row{nil}, []error{nil}, todo); all[0].Failed == "" {
		t.Error("a fault that was not run has passed")
	}
}

// Only a partial row is lost.
func TestPartialRowIsSkipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows")
	if rows, err := readRows(path); err != nil || rows != nil {
		t.Errorf("no row yet: %v, %v", rows, err)
	}
	for _, name := range []string{"a", "b"} {
		if err := (row{Fault: name}).appendTo(path); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, writeErr := io.WriteString(f, `{"fault":"c","sto`)
	if err := errors.Join(writeErr, f.Close()); err != nil {
		t.Fatal(err)
	}
	if rows, err := readRows(path); err == nil || len(rows) != 2 || rows[1].Fault != "b" {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestOutputLinesAreNotMixed(t *testing.T) {
	var line sync.Mutex
	var out bytes.Buffer
	first, second := &numbered{line: &line, out: &out, number: 1}, &numbered{line: &line, out: &out, number: 2}
	for _, say := range []struct {
		who  io.Writer
		what string
	}{{first, "one "}, {second, "two\nand"}, {first, "line\n"}, {second, " more\n\n"}} {
		if _, err := io.WriteString(say.who, say.what); err != nil {
			t.Fatal(err)
		}
	}
	if want := "2 | two\n1 | one line\n2 | and more\n2 | \n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestMachinesShareNoNames(t *testing.T) {
	seen := map[string]bool{}
	for number := range 3 {
		o := options{machine: number}
		for _, name := range []string{o.name(), o.dir()} {
			if seen[name] {
				t.Errorf("machine %d: %s is used twice", number, name)
			}
			seen[name] = true
		}
	}
}
