package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// outcome is the result of one fault.
type outcome struct {
	scenario.Result
	// Harmed counts the failed jobs beyond those that the fault may interrupt.
	Harmed int
}

// row is a fault in the report: what is expected, and what was observed. Times are in seconds since
// the injection.
type row struct {
	Fault        string   `json:"fault"`
	Description  string   `json:"description"`
	Metric       string   `json:"metric,omitempty"` // PromQL
	Alert        string   `json:"alert,omitempty"`
	Within       float64  `json:"within_seconds,omitempty"`
	Action       string   `json:"action,omitempty"`
	Allowed      []string `json:"allowed,omitempty"`
	AllowedLater []string `json:"allowed_later,omitempty"`
	MaxJobsLost  int      `json:"max_jobs_lost"`

	Detected float64 `json:"detected_seconds,omitempty"`
	Alerted  float64 `json:"alert_seconds,omitempty"`
	Healed   float64 `json:"healed_seconds,omitempty"`
	Harmed   int     `json:"jobs_harmed"`
	Failed   string  `json:"failed,omitempty"`

	// Again is the day and the commit at which it was run again, after the rest of the table.
	Again string `json:"again,omitempty"`
}

func (o outcome) row() row {
	f := o.Fault
	r := row{
		Fault: f.Name, Description: f.Description, Metric: f.Metric + f.Rises, Alert: f.Alert["alertname"], Within: f.Within.Seconds(),
		Action: f.Action, Allowed: f.Allowed, AllowedLater: f.AllowedLater, MaxJobsLost: f.MaxJobsLost,
		Detected: o.Metric.Seconds(), Alerted: o.Alert.Seconds(), Healed: o.Healed.Seconds(), Harmed: o.Harmed,
	}
	if o.Err != nil {
		r.Failed = o.Err.Error()
	}
	return r
}

var columns = []string{"fault", "detected after", "alert", "alert after", "action", "healed after", "jobs harmed"}

func (r row) cells() []string {
	healed := after(r.Healed)
	if r.Failed != "" {
		healed = "FAILED"
	}
	name := r.Fault
	if r.Again != "" {
		name += " (again: " + r.Again + ")"
	}
	return []string{name, after(r.Detected), dash(r.Alert), after(r.Alerted), dash(r.Action), healed, strconv.Itoa(r.Harmed)}
}

func after(s float64) string {
	if s == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", s)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// appendTo appends the row to a file, as one line.
func (r row) appendTo(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(f).Encode(r), f.Close())
}

// readRows reads the complete rows of a file, which may be missing or end with a partial row.
func readRows(path string) (rows []row, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for d := json.NewDecoder(f); ; {
		var r row
		switch err := d.Decode(&r); {
		case errors.Is(err, io.EOF):
			return rows, nil
		case err != nil:
			return rows, fmt.Errorf("%s: %w", path, err)
		}
		rows = append(rows, r)
	}
}

// merge replaces rows of an earlier run and marks them, in the order of the names.
func merge(earlier, now []row, mark string, names []string) []row {
	for _, r := range now {
		r.Again = mark
		earlier = append(slices.DeleteFunc(earlier, func(e row) bool { return e.Fault == r.Fault }), r)
	}
	// Drop faults that have left the list.
	earlier = slices.DeleteFunc(earlier, func(e row) bool { return !slices.Contains(names, e.Fault) })
	slices.SortStableFunc(earlier, func(a, b row) int { return slices.Index(names, a.Fault) - slices.Index(names, b.Fault) })
	return earlier
}
