package slots_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/blueguy23/ghostrunner/e2e/stack"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

// The account at Docker Hub that jobs are logged in with.
const (
	hubUser  = "octo"
	hubToken = "dckr_pat_of_the_lab"
)

// script reads a script of testdata and passes it what to search for, encoded so that it does not
// find itself.
func script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("pat=$(base64 -d <<<%s)\n%s", base64.StdEncoding.EncodeToString([]byte(stack.Token)), text)
}

// TestHostileJob runs a job that searches for the PAT and for more rights, one that leaves files
// and processes wherever it can, and one on the same slot that searches for these. The first must
// find nothing, the last only the caches.
func TestHostileJob(t *testing.T) {
	const slot = "ci-runner-1"
	search := script(t, "search.sh")
	// The search itself works: as root it finds the PAT.
	out, err := system.Docker(t.Context(), "exec", system.Container(slot), "bash", "-c", search+"\ntrue")
	if err != nil || !strings.Contains(out, "FOUND the PAT in /run/github/pat") || !strings.Contains(out, "FOUND that the supervisor's files can be opened") {
		t.Fatalf("the search does not work: root does not find the PAT: %v\n%s", err, out)
	}
	for _, hostile := range []struct{ name, script string }{
		{"searches for the PAT", search},
		{"leaves files everywhere", script(t, "pollute.sh")},
		{"searches for what was left", script(t, "search_leftovers.sh")},
	} {
		job := awaitCompleted(t, enqueue(t, lab.JobRequest{Name: hostile.name, Runner: slot, Script: hostile.script + "\n[ -z \"$bad\" ]"}).ID)
		if job.Result != "Succeeded" {
			logs, _ := system.Docker(t.Context(), "logs", "--tail=200", system.Container(slot))
			t.Errorf("the job that %s:", hostile.name)
			for line := range strings.Lines(logs) {
				if strings.Contains(line, "FOUND") || strings.Contains(line, "Step failed") {
					t.Error(strings.TrimSpace(line))
				}
			}
		}
	}
}
