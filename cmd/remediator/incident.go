package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// maxIncident is how many records the API gives at once: all that there are.
const maxIncident = 1500

// incident writes down what happened as an entry of the incident log (INCIDENTS.md): what is known
// is filled in, what a person must say is left for one.
func incident(ctx context.Context, cfg config, stdout io.Writer) error {
	list, err := attempts(ctx, cfg, maxIncident)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		_, err := fmt.Fprintf(stdout, "Nothing was done or refused since %s.\n", cfg.since)
		return err
	}
	slices.Reverse(list)
	var b bytes.Buffer
	writeIncident(&b, list)
	_, err = stdout.Write(b.Bytes())
	return err
}

// event is one line of the time line.
type event struct {
	at   time.Time
	text string
}

// writeIncident is incident without the API; the oldest record comes first.
func writeIncident(b *bytes.Buffer, list []journal.Record) {
	events := timeline(list)
	first, last := events[0].at, events[len(events)-1].at
	fmt.Fprintf(b, "## INC-NNN: (what broke, in one line)\n\n")
	fmt.Fprintf(b, "**When** %s to %s, %s.\n", stamp(first), stamp(last), took(first, last))
	fmt.Fprintf(b, "**What happened** %s (Say it in your words.)\n\n", tally(list))
	fmt.Fprintf(b, "| time (UTC) | what |\n|---|---|\n")
	for _, e := range events {
		fmt.Fprintf(b, "| %s | %s |\n", stamp(e.at), e.text)
	}
	fmt.Fprintf(b, "\n**Evidence**\n\n")
	for _, r := range list {
		fmt.Fprintf(b, "- %s, asked for by %s: %s", subject(r), name(r.Alert), words(string(r.Outcome)))
		if r.Reason != "" {
			fmt.Fprintf(b, " (%s)", words(r.Reason))
		}
		if r.Detail != "" {
			fmt.Fprintf(b, ": %s", markdown(r.Detail))
		}
		fmt.Fprintln(b)
		for _, seen := range r.Evidence {
			fmt.Fprintf(b, "  - %s\n", markdown(seen))
		}
		if r.Outcome != journal.Refused {
			for _, v := range r.Verdicts {
				if v.Detail != "" {
					fmt.Fprintf(b, "  - guard %s: %s\n", words(v.Guard), markdown(v.Detail))
				}
			}
		}
	}
	fmt.Fprintf(b, "\n**Why it could** (…)\n**What prevents it here** (… and the test that proves it)\n")
}

// timeline is everything with a time, the oldest first.
func timeline(list []journal.Record) []event {
	var events []event
	add := func(at time.Time, format string, args ...any) {
		if !at.IsZero() {
			events = append(events, event{at, fmt.Sprintf(format, args...)})
		}
	}
	fired := map[string]bool{}
	for _, r := range list {
		key := r.Alert.Fingerprint + r.Alert.StartsAt.String()
		if !fired[key] {
			fired[key] = true
			of := ""
			for _, l := range []string{"runner", "container"} {
				if v := r.Alert.Labels[l]; v != "" && of == "" {
					of = " for " + markdown(v)
				}
			}
			add(r.Alert.StartsAt, "%s fires%s", name(r.Alert), of)
		}
		switch begins := func() { add(r.Began, "%s begins, %s after the alert", subject(r), took(r.Alert.StartsAt, r.Began)) }; r.Outcome {
		case journal.Refused:
			again := ""
			if r.Count > 1 {
				again = fmt.Sprintf(", %d times within %s", r.Count, took(r.Began, r.Ended))
			}
			add(r.Began, "refused: %s, %s%s", subject(r), words(r.Reason), again)
		case journal.Completed:
			begins()
			add(r.Ended, "%s is done and verified, after %s", subject(r), took(r.Began, r.Ended))
		case journal.Failed:
			begins()
			add(r.Ended, "%s **failed** after %s: %s", subject(r), took(r.Began, r.Ended), words(r.Reason))
		default:
			begins()
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	return events
}

// tally counts what was done.
func tally(list []journal.Record) string {
	var begun, failed, refused int
	var times uint64
	for _, r := range list {
		switch r.Outcome {
		case journal.Refused:
			refused++
			times += max(r.Count, 1)
		case journal.Failed:
			failed++
			begun++
		default:
			begun++
		}
	}
	return fmt.Sprintf("Actions begun: %d, of which failed: %d. Refusals: %d, given %d times.", begun, failed, refused, times)
}

// subject is what was or would have been done.
func subject(r journal.Record) string {
	if r.Target == "" {
		return markdown(r.Action)
	}
	return markdown(r.Action) + " of " + markdown(r.Target)
}

func name(a journal.Alert) string {
	if a.Name() == "" {
		return "an alert without a name"
	}
	return markdown(a.Name())
}

func words(s string) string { return markdown(strings.ReplaceAll(s, "_", " ")) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// took is a length of time as people say it.
func took(from, to time.Time) string {
	d := max(to.Sub(from), 0)
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// markdown is a foreign text as plain text in Markdown: every character that could mean something
// there is escaped, so that an alert can put no link, no image and no heading into the log.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range cli.OneLine(s) {
		if strings.ContainsRune("\\`*_{}[]<>()#+!|~&@:.$^", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
