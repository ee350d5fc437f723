// Command govulncheck fails if this project calls code that Go's vulnerability database lists.
// Findings in frozen libraries are in [accepted], with the reason why they do not affect us.
//
// If the database cannot be reached, it prints one line and does not fail, because that says
// nothing about the code.
//
//	govulncheck [folder of a module]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/vuln/scan"
)

// accepted are findings that do not affect us, by their number in the database.
//
// github.com/docker/docker ends with v28.5.2; its successor is another module. We use its client
// only. These are faults of the daemon, which the machine updates.
var accepted = map[string]string{
	"GO-2026-4883": "how the daemon checks the privileges of a plugin; we neither are the daemon nor install plugins",
	"GO-2026-4887": "how the daemon asks authorization plugins about large requests; we are not the daemon",
	"GO-2026-5617": "the daemon, while files are copied into or out of a container; we are not the daemon, and copy none",
	"GO-2026-5746": "the daemon, while files are copied into or out of a container; we are not the daemon, and copy none",
}

const (
	database = "https://vuln.go.dev"
	patience = 20 * time.Second // for the first answer of the database
	longest  = 10 * time.Minute // for everything
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := run(ctx, dir, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "govulncheck:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	db := os.Getenv("GOVULNDB")
	if db == "" {
		db = database
	}
	if err := reach(ctx, db); err != nil {
		fmt.Fprintf(out, "%sVULNERABILITIES ARE NOT CHECKED: %s does not answer (%v)\n", mark(), db, err)
		return nil
	}
	var found, messages bytes.Buffer
	cmd := scan.Command(ctx, "-C", dir, "-db", db, "-format", "json", "./...")
	cmd.Stdout, cmd.Stderr = &found, &messages
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, messages.String())
	}
	return judge(&found, out)
}

// mark makes the line a warning on the page of a run of GitHub Actions.
func mark() string {
	if os.Getenv("GITHUB_ACTIONS") == "true" {
		return "::warning::"
	}
	return ""
}

// reach returns why the database cannot be reached.
func reach(ctx context.Context, db string) error {
	if strings.HasPrefix(db, "file://") {
		return nil // govulncheck reports what is wrong with it
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, db+"/index/db.json", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return errors.Unwrap(err) // without the URL
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// finding is one vulnerability on one call path, as govulncheck reports it. The first frame is in
// the library, and has a function only if we call it.
type finding struct {
	OSV   string
	Fixed string `json:"fixed_version"`
	Trace []struct{ Module, Version, Package, Function string }
}

// judge reads the findings. Those in code that is not called are counted and do not fail.
func judge(in io.Reader, out io.Writer) error {
	summaries, called, near := map[string]string{}, map[string]finding{}, map[string]bool{}
	for messages := json.NewDecoder(in); ; {
		var m struct {
			OSV *struct {
				ID      string
				Summary string
			}
			Finding *finding
		}
		if err := messages.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("read the output of govulncheck: %w", err)
		}
		if m.OSV != nil {
			summaries[m.OSV.ID] = m.OSV.Summary
		}
		if f := m.Finding; f != nil && len(f.Trace) > 0 {
			near[f.OSV] = true
			if f.Trace[0].Function != "" {
				called[f.OSV] = *f
			}
		}
	}
	var fatal []string
	for _, id := range slices.Sorted(maps.Keys(called)) {
		f := called[id]
		line := fmt.Sprintf("%s: %s (%s %s, fixed in %s)", id, summaries[id], f.Trace[0].Module, f.Trace[0].Version, orNone(f.Fixed))
		if reason, ok := accepted[id]; ok {
			fmt.Fprintf(out, "accepted: %s: %s\n", line, reason)
			continue
		}
		fatal = append(fatal, line)
	}
	for _, id := range slices.Sorted(maps.Keys(accepted)) {
		if !near[id] {
			fmt.Fprintf(out, "%s%s is accepted, but no longer found: remove it from tools/govulncheck\n", mark(), id)
		}
	}
	fmt.Fprintf(out, "vulnerabilities: %d called, %d of them accepted; %d more in code that is not called\n",
		len(called), len(called)-len(fatal), len(near)-len(called))
	if len(fatal) > 0 {
		return fmt.Errorf("this project calls vulnerable code; update it, or accept it in tools/govulncheck with the reason:\n%s",
			strings.Join(fatal, "\n"))
	}
	return nil
}

func orNone(version string) string {
	if version == "" {
		return "nothing yet"
	}
	return version
}
