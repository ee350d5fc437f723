package docs_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGeneratedFlagTable compares docs/flags.md with the help of the programs.
func TestGeneratedFlagTable(t *testing.T) {
	t.Setenv("COLUMNS", "120")
	commands, err := filepath.Glob("../cmd/*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, file := range commands {
		name := filepath.Base(filepath.Dir(file))
		if name == "lab" {
			continue // for tests and the demo
		}
		program := filepath.Join(t.TempDir(), "ghostrunner-"+name)
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/"+name).CombinedOutput(); err != nil {
			t.Fatalf("cmd/%s: %v\n%s", name, err, out)
		}
		out, err := exec.CommandContext(t.Context(), program, "--help-long").CombinedOutput()
		if err != nil {
			t.Fatalf("%s --help-long: %v\n%s", name, err, out)
		}
		want.WriteString("\n## ghostrunner-" + name + "\n\n```text\n")
		for line := range strings.Lines(strings.TrimSpace(string(out))) {
			want.WriteString(strings.TrimRight(line, " \n") + "\n")
		}
		want.WriteString("```\n")
	}
	generated(t, "flags.md", "flags", want.String()+"\n")
}
