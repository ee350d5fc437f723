// Package internal holds no code of its own: this test states who may know whom in the folders below, and why.
package internal

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/blueguy23/ghostrunner"

// bans lists what a package and everything that it imports must not contain.
var bans = []struct {
	packages string // pattern for go list
	banned   string // import path prefix
	allowed  []string
	why      string
}{
	{"./...", module + "/internal/", nil, "packages below internal know nothing of each other but the listener's vocabulary; cmd hands the adapters in"},
	{"./collector", "github.com/docker/docker", nil, "a collector turns facts into metrics; where the facts come from is an adapter's business"},
	{"./remedy", "github.com/docker/docker", nil, "the remediator's judgement is tested without an engine"},
	{"./dockerproxy", "github.com/", []string{module}, "what guards Docker's socket is small enough to be read whole: standard library only"},
	{"./listener", "github.com/", []string{module}, "what the runner prints is pure text: standard library only"},
	{"./listener", "net", []string{"net/netip"}, "what the runner prints is pure text: no network"},
}

func TestImports(t *testing.T) {
	for _, ban := range bans {
		for _, pkg := range list(t, "{{.ImportPath}}", ban.packages) {
			if pkg == module+"/internal" {
				continue
			}
			for _, dep := range list(t, "{{join .Deps \"\\n\"}}", pkg) {
				if !strings.HasPrefix(dep, ban.banned) || allowed(dep, ban.allowed) {
					continue
				}
				if ban.banned == module+"/internal/" && dep == module+"/internal/listener" {
					continue
				}
				t.Errorf("%s knows %s: %s", pkg, dep, ban.why)
			}
		}
	}
}

// TestOneImporter keeps what is frozen or heavy behind one door.
func TestOneImporter(t *testing.T) {
	for _, only := range []struct{ importer, imported, why string }{
		{"internal/engine", "github.com/docker/docker", "frozen upstream at v28: moving on must be one package's work"},
		{"internal/github", "github.com/google/go-github", "frozen at v60: moving on must be one package's work"},
		{"internal/remedy", "github.com/prometheus/alertmanager", "only the remediator speaks Alertmanager's payload"},
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

// TestLabIsNoProduct keeps the simulated world out of what people run.
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
	var stderr strings.Builder // which also tells of downloads
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", pattern, err, &stderr)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}
