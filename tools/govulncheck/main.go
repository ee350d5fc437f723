// Command govulncheck asks Go's vulnerability database whether this project calls anything that is known to be
// vulnerable, and fails if it does. What cannot be fixed, because a library that is given to us is frozen, stands in
// [accepted] with the reason why it does not reach us.
//
// Where the database does not answer nothing is proven: that is said in one line which cannot be overlooked, and is no failure,
// because it says nothing about the code.
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

// accepted are the findings that we live with, by their number in the database.
//
// github.com/docker/docker ends with v28.5.2; its successor is another module. We use its client, and these are faults of the
// daemon, which is the machine's own and gets its updates there.
var accepted = map[string]string{
	"GO-2026-4883": "how the daemon checks the privileges of a plugin; we neither are the daemon nor install plugins",
	"GO-2026-4887": "how the daemon asks authorization plugins about large requests; we are not the daemon",
	"GO-2026-5617": "the daemon, while files are copied into or out of a container; we are not the daemon, and copy none",
	"GO-2026-5746": "the daemon, while files are copied into or out of a container; we are not the daemon, and copy none",
}

const (
	database = "https://vuln.go.dev"
	patience = 20 * time.Second // of which the database gets so much to say that it is there
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

// reach tells why the database cannot be asked.
func reach(ctx context.Context, db string) error {
	if strings.HasPrefix(db, "file://") {
		return nil // govulncheck says what is wrong with it
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

// finding is one fault of one library, as govulncheck tells of it: once for each way that leads to it. The first frame
// is the library's, and has a function only if we call it.
type finding struct {
	OSV   string
	Fixed string `json:"fixed_version"`
	Trace []struct{ Module, Version, Package, Function string }
}

// judge reads what govulncheck found. Faults in what is imported or required and not called are counted, not fatal.
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
			return fmt.Errorf("what govulncheck says is no JSON: %w", err)
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
			fmt.Fprintf(out, "%s%s is accepted, but no longer found: take it out of tools/govulncheck\n", mark(), id)
		}
	}
	fmt.Fprintf(out, "vulnerabilities: %d called, %d of them accepted; %d more in what is imported or required and not called\n",
		len(called), len(called)-len(fatal), len(near)-len(called))
	if len(fatal) > 0 {
		return fmt.Errorf("this project calls what is known to be vulnerable; update it, or accept it in tools/govulncheck with the reason:\n%s",
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
