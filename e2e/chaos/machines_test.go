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

// Every fault is played once, and each machine plays its own in the order of the list.
func TestDeal(t *testing.T) {
	for machines, want := range map[int][]string{1: {"abcde"}, 2: {"ace", "bd"}, 3: {"ad", "be", "c"}, 9: {"a", "b", "c", "d", "e"}} {
		var got []string
		for _, hand := range deal(named("a", "b", "c", "d", "e"), machines) {
			var names strings.Builder
			for _, f := range hand {
				names.WriteString(f.Name)
			}
			got = append(got, names.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d machines: %q, want %q", machines, got, want)
		}
	}
}

// A machine that breaks loses what it has not played, and nothing of what it has, nor of the other's.
func TestGather(t *testing.T) {
	todo := named("a", "b", "c", "d", "e")
	broke := errors.New("out of memory")
	all := gather(deal(todo, 2), [][]row{{{Fault: "a"}, {Fault: "c"}, {Fault: "e"}}, {{Fault: "b"}}}, []error{nil, broke}, todo)
	var got strings.Builder
	for _, r := range all {
		got.WriteString(r.Fault)
		if missing := r.Fault == "d"; (r.Broken != "") != missing {
			t.Errorf("%s: %q", r.Fault, r.Broken)
		}
	}
	if got.String() != "abcde" || !strings.Contains(all[3].Broken, "machine 2 ended (out of memory)") {
		t.Errorf("%s: %+v", got.String(), all)
	}
	// A program that ends well and has played nothing has kept nothing.
	if all := gather(deal(todo, 1), [][]row{nil}, []error{nil}, todo); all[0].Broken == "" {
		t.Error("what was not played counts as kept")
	}
}

// The row that a machine was about to write when it broke is lost, and no other.
func TestRows(t *testing.T) {
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

// Lines of two machines are told apart, and never mixed.
func TestNumbered(t *testing.T) {
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

// Two machines share nothing that has a name.
func TestMachinesAreApart(t *testing.T) {
	seen := map[string]bool{}
	for number := range 3 {
		o := options{machine: number}
		for _, name := range []string{o.name(), o.dir()} {
			if seen[name] {
				t.Errorf("machine %d: %s is another's", number, name)
			}
			seen[name] = true
		}
	}
}
