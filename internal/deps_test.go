// Package internal has no code of its own. Its tests state which folder may import which, and why.
package internal

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/blueguy23/ghostrunner"

// vocabulary is what every package below internal may import: pure, standard library only.
var vocabulary = []string{"internal/runner", "internal/listener"}

// parents may import the packages below their own folder.
var parents = []string{"internal/remedy"}

// TestDirection: packages below internal import the vocabulary and nothing else of ours. Consumers
// declare small interfaces, and cmd hands them the adapters (docker, github, clock).
func TestDirection(t *testing.T) {
	for _, pkg := range list(t, "{{.ImportPath}}", "./...") {
		pkg = strings.TrimPrefix(pkg, module+"/")
		for _, dep := range list(t, `{{join .Deps "\n"}}`, module+"/"+pkg) {
			dep, ours := strings.CutPrefix(dep, module+"/")
			if !ours || slices.Contains(vocabulary, dep) && !slices.Contains(vocabulary, pkg) {
				continue
			}
			if slices.ContainsFunc(parents, func(parent string) bool {
				return strings.HasPrefix(pkg+"/", parent+"/") && strings.HasPrefix(dep+"/", parent+"/")
			}) {
				continue
			}
			t.Errorf("%s imports %s: packages below internal share the vocabulary only; cmd connects them", pkg, dep)
		}
	}
}

// bans lists what a package and everything that it imports must not contain.
var bans = []struct {
	packages string // pattern for go list
	banned   string // import path prefix
	allowed  []string
	why      string
}{
	{"./collector", "github.com/docker/docker", nil, "a collector turns facts into metrics; an adapter reads them"},
	{"./remedy/...", "github.com/docker/docker", nil, "decisions are tested without a Docker engine"},
	{"./supervisor", "github.com/google/go-github", nil, "the life of a slot is tested without GitHub"},
	{"./dockerproxy", "github.com/", []string{module}, "what guards Docker's socket is small enough to be read whole: standard library only"},
	{"./runner", "github.com/", nil, "the vocabulary is pure: standard library only"},
	{"./runner", "net", nil, "the vocabulary has no I/O"},
	{"./listener", "github.com/", []string{module}, "what the runner prints is text: standard library only"},
	{"./listener", "net", []string{"net/netip"}, "what the runner prints is text: no network"},
}

func TestImports(t *testing.T) {
	for _, ban := range bans {
		for _, pkg := range list(t, "{{.ImportPath}}", ban.packages) {
			for _, dep := range list(t, `{{join .Deps "\n"}}`, pkg) {
				if strings.HasPrefix(dep, ban.banned) && !allowed(dep, ban.allowed) {
					t.Errorf("%s imports %s: %s", pkg, dep, ban.why)
				}
			}
		}
	}
}

// TestOneImporter: what is frozen or heavy has one importer.
func TestOneImporter(t *testing.T) {
	for _, only := range []struct{ importer, imported, why string }{
		{"internal/docker", "github.com/docker/docker", "frozen upstream at v28: replacing it is the work of one package"},
		{"internal/github", "github.com/google/go-github", "frozen at v60: replacing it is the work of one package"},
		{"internal/remedy/httpapi", "github.com/prometheus/alertmanager", "only the remediator's webhook reads Alertmanager's payload"},
	} {
		for _, line := range list(t, `{{.ImportPath}} {{join .Imports " "}}`, module+"/...") {
			pkg, imports, _ := strings.Cut(line, " ")
			if pkg == module+"/"+only.importer {
				continue
			}
			for imported := range strings.FieldsSeq(imports) {
				if strings.HasPrefix(imported, only.imported) {
					t.Errorf("%s imports %s, which only %s may: %s", pkg, imported, only.importer, only.why)
				}
			}
		}
	}
}

// TestLabIsNoProduct: no program that people run contains the simulated world.
func TestLabIsNoProduct(t *testing.T) {
	for _, program := range []string{"exporter", "remediator", "runner", "proxy", "setup"} {
		for _, dep := range list(t, "{{join .Deps \"\\n\"}}", module+"/cmd/"+program) {
			if strings.HasPrefix(dep, module+"/internal/lab") {
				t.Errorf("cmd/%s contains the simulated world (%s)", program, dep)
			}
		}
	}
}

func allowed(dep string, exceptions []string) bool {
	for _, e := range exceptions {
		if strings.HasPrefix(dep, e) {
			return true
		}
	}
	return false
}

// list runs go list and returns its lines.
func list(t *testing.T, format, pattern string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", format, pattern)
	var stderr strings.Builder // it also reports downloads
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", pattern, err, &stderr)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}
