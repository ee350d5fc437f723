package compose_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestForget plays forget.sh with a shell, and with what stands in for one in images that are made on the spot.
func TestForget(t *testing.T) {
	script, err := filepath.Abs("forget.sh")
	if err != nil {
		t.Fatal(err)
	}
	standin := filepath.Join(t.TempDir(), "sh")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", standin, "../e2e/testdata/sh").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, shell := range []string{"/bin/sh", standin} {
		t.Run(filepath.Base(filepath.Dir(shell)), func(t *testing.T) {
			dir := t.TempDir()
			note := filepath.Join(t.TempDir(), "set-back")
			write := func(name, text string) {
				t.Helper()
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			block := func(name string, end time.Time) {
				t.Helper()
				write(name+"/chunks/000001", "")
				write(name+"/meta.json", fmt.Sprintf("{\n\t\"ulid\": %q,\n\t\"minTime\": 1,\n\t\"maxTime\": %d,\n\t\"stats\": {}\n}", name, end.UnixMilli()))
			}
			// run becomes a program with arguments, and returns what is left.
			run := func() []string {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), shell, script, "/bin/echo", "one", "two words")
				cmd.Dir, cmd.Env = dir, append(os.Environ(), "NOTE="+note)
				out, err := cmd.Output()
				if err != nil || string(out) != "one two words\n" {
					t.Fatalf("%q, %v", out, err)
				}
				left, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, e := range left {
					names = append(names, e.Name())
				}
				return names
			}
			want := func(names ...string) {
				t.Helper()
				slices.Sort(names)
				if got := run(); !slices.Equal(got, names) {
					t.Errorf("left: %s\nwant: %s", strings.Join(got, " "), strings.Join(names, " "))
				}
			}
			write("wal/00000001", "")
			write("wbl/00000001", "")
			write("chunks_head/000001", "")
			write("nflog", "")
			write("silences", "")
			block("old", time.Now().Add(-time.Minute))
			block("coming", time.Now().Add(time.Hour))
			want("wal", "wbl", "chunks_head", "nflog", "silences", "old", "coming")
			if err := os.WriteFile(note, []byte("one"), 0o600); err != nil {
				t.Fatal(err)
			}
			want("silences", "old", "forgotten")
			for _, name := range []string{"wal/00000001", "wbl/00000001", "chunks_head/000001", "nflog", "coming/chunks/000001"} {
				if _, err := os.Stat(filepath.Join(dir, "forgotten", name)); err != nil {
					t.Error(err)
				}
			}
			// Who was stopped before the end goes on, and loses nothing of what was put aside.
			if err := os.Remove(filepath.Join(dir, "forgotten", "done")); err != nil {
				t.Fatal(err)
			}
			write("nflog", "of the present") // is not in the way of what was put aside
			write("later/meta.json", fmt.Sprintf("{ \"maxTime\": %d }", time.Now().Add(time.Hour).UnixMilli()))
			want("silences", "old", "forgotten", "nflog")
			for _, name := range []string{"wal/00000001", "nflog", "coming/chunks/000001", "later/meta.json", "done"} {
				if _, err := os.Stat(filepath.Join(dir, "forgotten", name)); err != nil {
					t.Error(err)
				}
			}
			if err := os.Remove(filepath.Join(dir, "nflog")); err != nil {
				t.Fatal(err)
			}
			// The same note is no new one.
			write("wal/00000001", "")
			write("nflog", "")
			want("silences", "old", "forgotten", "wal", "nflog")
			if err := os.WriteFile(note, []byte("two"), 0o600); err != nil {
				t.Fatal(err)
			}
			want("silences", "old", "forgotten")
			if _, err := os.Stat(filepath.Join(dir, "forgotten", "coming")); err == nil {
				t.Error("what was put aside the time before is still there")
			}
		})
	}
}
