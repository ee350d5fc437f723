package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/remedy"
)

const (
	clientTimeout = 40 * time.Second // explain may take 30
	maxAnswer     = 64 << 20
)

// command runs a subcommand that talks to a running remediator.
func command(ctx context.Context, cfg config, stdout io.Writer) error {
	switch cfg.command {
	case "history":
		var records []remedy.Record
		if err := call(ctx, cfg, http.MethodGet, fmt.Sprintf("/api/v1/attempts?limit=%d", cfg.limit), nil, &records); err != nil {
			return err
		}
		return table(stdout, "TIME\tACTION\tTARGET\tOUTCOME\tREASON\tTIMES\tALERT\tDETAIL", len(records), func(i int) []any {
			r := records[i]
			at := r.Ended
			if at.IsZero() {
				at = r.Began
			}
			return []any{when(at), r.Action, r.Target, r.Outcome, r.Reason, r.Count, r.Alert.Name(), r.Detail}
		})
	case "breakers":
		method, path := http.MethodGet, "/api/v1/breakers"
		if cfg.reset != "" {
			method, path = http.MethodPost, path+"/"+url.PathEscape(cfg.reset)+"/reset"
		}
		var breakers []remedy.BreakerStatus
		if err := call(ctx, cfg, method, path, nil, &breakers); err != nil {
			return err
		}
		return table(stdout, "RUNNER\tBREAKER\tUNTIL\tPROBATION ENDS\tFIRES", len(breakers), func(i int) []any {
			b := breakers[i]
			return []any{b.Runner, b.State, when(b.Until), when(b.Closes), b.Fires}
		})
	case "pause", "resume":
		var status remedy.Status
		if err := call(ctx, cfg, http.MethodPost, "/api/v1/"+cfg.command, nil, &status); err != nil {
			return err
		}
		_, err := fmt.Fprintf(stdout, "paused: %t\n", status.Paused)
		return err
	case "explain":
		return explain(ctx, cfg, stdout)
	}
	return fmt.Errorf("%s: not implemented", cfg.command)
}

func explain(ctx context.Context, cfg config, stdout io.Writer) error {
	payload := io.Reader(os.Stdin)
	if cfg.payloadFile != "-" {
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
	return table(stdout, "ALERT\tSTATUS\tACTION\tTARGET\tDECISION\tREASON\tDETAIL", len(list), func(i int) []any {
		e := list[i]
		return []any{e.Alert, e.Status, e.Action, e.Target, e.Decision, e.Reason, e.Detail}
	})
}

// call asks the API. An answer that is no success becomes an error with its text.
func call(ctx context.Context, cfg config, method, path string, body io.Reader, into any) error {
	token, err := cli.ReadSecret("web.bearer-token-file", cfg.tokenFile)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(cfg.url, "/")+path, body)
	if err != nil {
		return fmt.Errorf("--remediator.url: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("--remediator.url: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // what came is enough
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("answer of %s: %w", path, err)
	}
	return nil
}

// table prints rows under a heading. A cell never breaks its row.
func table(out io.Writer, heading string, rows int, row func(int) []any) error {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, heading) // errors are sticky and come back from Flush
	for i := range rows {
		var cells []string
		for _, cell := range row(i) {
			text := strings.NewReplacer("\t", " ", "\n", " ", "\x1b", "").Replace(fmt.Sprint(cell))
			if text == "" {
				text = "-"
			}
			cells = append(cells, text)
		}
		_, _ = fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
