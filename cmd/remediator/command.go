package main

import (
	"cmp"
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
}

// commands are the subcommands that talk to a running remediator.
var commands = map[string]func(ctx context.Context, cfg config, stdout io.Writer) error{
	"history": history, "breakers show": breakers, "breakers reset": breakers, "pause": pause, "resume": pause,
	"explain": explain, "incident": incident, "healthcheck": healthcheck,
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
		t.Rows = append(t.Rows, []string{
			when(r.At()), r.Action, r.Target, string(r.Outcome), r.Reason, strconv.FormatUint(r.Count, 10), r.Alert.Name(), r.Detail,
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
		what := e.Action
		if e.Target != "" {
			what += " of " + e.Target
		}
		why := e.Reason
		if len(e.Verdicts) == 0 {
			why = e.Detail
		}
		said := fmt.Sprintf("%s (%s): %s", cmp.Or(e.Alert, "(no name)"), e.Status, e.Decision)
		if what != "" {
			said += ", " + what
		}
		if why != "" {
			said += ": " + why
		}
		fmt.Fprintln(out, cli.OneLine(said))
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
	if cfg.format != "json" {
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
