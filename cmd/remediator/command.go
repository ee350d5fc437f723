package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// colors say how a word of an answer is meant.
var colors = map[string]cli.Color{
	string(journal.Completed): cli.Green, string(journal.Failed): cli.Red, string(journal.Refused): cli.Yellow,
	string(journal.Closed): cli.Green, string(journal.Open): cli.Red, string(journal.HalfOpen): cli.Yellow,
	"act": cli.Green, "refuse": cli.Yellow,
}

// command runs a subcommand that talks to a running remediator.
func command(ctx context.Context, cfg config, stdout io.Writer) error {
	switch cfg.command {
	case "history":
		return history(ctx, cfg, stdout)
	case "breakers show", "breakers reset":
		return breakers(ctx, cfg, stdout)
	case "pause", "resume":
		return pause(ctx, cfg, stdout)
	case "explain":
		return explain(ctx, cfg, stdout)
	case "incident":
		return incident(ctx, cfg, stdout)
	}
	return fmt.Errorf("%s: not implemented", cfg.command)
}

// attempts asks for history, the newest first.
func attempts(ctx context.Context, cfg config, limit int) (list []journal.Record, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if cfg.since != "" {
		q.Set("since", cfg.since)
	}
	return list, call(ctx, cfg, http.MethodGet, "/api/v1/attempts?"+q.Encode(), nil, &list)
}

func history(ctx context.Context, cfg config, stdout io.Writer) error {
	list, err := attempts(ctx, cfg, cfg.limit)
	if err != nil {
		return err
	}
	t := cli.Table{Heading: []string{"TIME", "ACTION", "TARGET", "OUTCOME", "REASON", "TIMES", "ALERT", "DETAIL"}, Colors: colors}
	for _, r := range list {
		at := r.Ended
		if at.IsZero() {
			at = r.Began
		}
		t.Rows = append(t.Rows, []string{
			when(at), r.Action, r.Target, string(r.Outcome), r.Reason, strconv.FormatUint(r.Count, 10), r.Alert.Name(), r.Detail,
		})
	}
	return show(cfg, stdout, list, t.Print)
}

func breakers(ctx context.Context, cfg config, stdout io.Writer) error {
	method, path := http.MethodGet, "/api/v1/breakers"
	if cfg.reset != "" {
		method, path = http.MethodPost, path+"/"+url.PathEscape(cfg.reset)+"/reset"
	}
	var list []remedy.BreakerStatus
	if err := call(ctx, cfg, method, path, nil, &list); err != nil {
		return err
	}
	t := cli.Table{Heading: []string{"RUNNER", "BREAKER", "UNTIL", "PROBATION ENDS", "FIRES"}, Colors: colors}
	for _, b := range list {
		t.Rows = append(t.Rows, []string{b.Runner, string(b.State), when(b.Until), when(b.Closes), strconv.FormatUint(b.Fires, 10)})
	}
	return show(cfg, stdout, list, t.Print)
}

func pause(ctx context.Context, cfg config, stdout io.Writer) error {
	path := "/api/v1/" + cfg.command
	if cfg.pauseFor != "" {
		path += "?for=" + url.QueryEscape(cfg.pauseFor)
	}
	var status remedy.Status
	if err := call(ctx, cfg, http.MethodPost, path, nil, &status); err != nil {
		return err
	}
	return show(cfg, stdout, status, func(out io.Writer) error {
		said := "not paused"
		if status.Paused {
			said = "paused until resumed"
			if !status.PausedUntil.IsZero() {
				said = "paused until " + when(status.PausedUntil)
			}
		}
		_, err := fmt.Fprintln(out, said)
		return err
	})
}

func explain(ctx context.Context, cfg config, stdout io.Writer) error {
	payload := io.Reader(os.Stdin)
	if cfg.payloadFile != "" && cfg.payloadFile != "-" { // kingpin makes "-" empty
		f, err := os.Open(cfg.payloadFile)
		if err != nil {
			return fmt.Errorf("payload: %w", err)
		}
		defer f.Close()
		payload = f
	}
	var list []remedy.Explanation
	if err := call(ctx, cfg, http.MethodPost, "/api/v1/explain", payload, &list); err != nil {
		return err
	}
	return show(cfg, stdout, list, func(out io.Writer) error { return printExplanations(out, list) })
}

// printExplanations writes a paragraph for each alert: what would be done, and below it every guard
// that was asked.
func printExplanations(out io.Writer, list []remedy.Explanation) error {
	paint := cli.PainterFor(out)
	for i, e := range list {
		if i > 0 {
			fmt.Fprintln(out)
		}
		name := cli.OneLine(e.Alert)
		if name == "" {
			name = "(no name)"
		}
		said := name + " (" + cli.OneLine(e.Status) + "): " + paint.Paint(colors[e.Decision], cli.OneLine(e.Decision))
		if e.Action != "" {
			said += ", " + cli.OneLine(e.Action)
			if e.Target != "" {
				said += " of " + cli.OneLine(e.Target)
			}
		}
		if e.Reason != "" {
			said += ": " + cli.OneLine(e.Reason)
		}
		if len(e.Verdicts) == 0 && e.Detail != "" {
			said += ": " + cli.OneLine(e.Detail)
		}
		fmt.Fprintln(out, said)
		for _, v := range e.Verdicts {
			mark, color := "ok", cli.Green
			if !v.OK {
				mark, color = "NO", cli.Red
			}
			line := strings.TrimSpace(fmt.Sprintf("%-13s  %s", cli.OneLine(v.Guard), cli.OneLine(v.Detail)))
			if _, err := fmt.Fprintf(out, "  %s  %s\n", paint.Paint(color, mark), line); err != nil {
				return err
			}
		}
	}
	return nil
}

// show prints what the API answered, for programs or for people.
func show(cfg config, stdout io.Writer, answer any, people func(io.Writer) error) error {
	if cfg.format != formatJSON {
		return people(stdout)
	}
	enc := json.NewEncoder(stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(answer)
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
