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

// hub is the account at Docker Hub that jobs are logged in with.
const (
	hubUser  = "octo"
	hubToken = "dckr_pat_of_the_lab"
)

// script reads one of testdata and tells it what to look for, in a form that is not found itself.
func script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("pat=$(base64 -d <<<%s)\n%s", base64.StdEncoding.EncodeToString([]byte(stack.Token)), text)
}

// TestHostileJob runs a job that looks everywhere for the PAT, tries to become more than it is, and leaves something behind wherever
// it can; and on the same slot a second one that looks for that. The first must find nothing and the second no more than the caches.
func TestHostileJob(t *testing.T) {
	const slot = "ci-runner-1"
	look := script(t, "look.sh")
	// A search that finds nothing proves something only if it finds what is there: the same one, run by root, does.
	out, err := system.Docker(t.Context(), "exec", system.Container(slot), "bash", "-c", look+"\ntrue")
	if err != nil || !strings.Contains(out, "FOUND the PAT in /run/github/pat") || !strings.Contains(out, "FOUND that the supervisor's files can be opened") {
		t.Fatalf("the search is blind, root does not find the PAT by it: %v\n%s", err, out)
	}
	for _, hostile := range []struct{ name, script string }{
		{"looks for the PAT", look},
		{"leaves something everywhere", script(t, "leave.sh")},
		{"looks for what was left", script(t, "left.sh")},
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
