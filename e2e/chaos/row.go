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
	"strings"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// outcome is what became of one fault.
type outcome struct {
	scenario.Result
	// Harmed is how many jobs did not succeed that the fault itself does not explain.
	Harmed int
}

// row is one fault as people and programs read it: what is promised, and what was seen. Times are in seconds since the
// fault.
type row struct {
	Fault   string   `json:"fault"`
	Story   string   `json:"story"`
	Shows   string   `json:"shows,omitempty"` // PromQL that has a result then
	Alert   string   `json:"alert,omitempty"`
	Within  float64  `json:"within_seconds,omitempty"`
	Action  string   `json:"action,omitempty"`
	Allowed []string `json:"also_allowed,omitempty"`
	Then    []string `json:"allowed_when_mended,omitempty"`
	Costs   int      `json:"jobs_that_may_end"`

	Noticed float64 `json:"noticed_seconds,omitempty"`
	Alerted float64 `json:"alert_seconds,omitempty"`
	Healed  float64 `json:"healed_seconds,omitempty"`
	Harmed  int     `json:"jobs_harmed"`
	Broken  string  `json:"broken,omitempty"`

	// Again is the day and the commit at which it was played once more, after the rest of the table.
	Again string `json:"again,omitempty"`
}

func (o outcome) row() row {
	f := o.Fault
	r := row{
		Fault: f.Name, Story: f.Story, Shows: f.Metric + f.Rises, Alert: f.Alert["alertname"], Within: f.Within.Seconds(),
		Action: strings.TrimSpace(f.Action["action"] + " " + f.Action["target"]), Allowed: f.Also, Then: f.Then, Costs: f.Costs,
		Noticed: o.Metric.Seconds(), Alerted: o.Alert.Seconds(), Healed: o.Healed.Seconds(), Harmed: o.Harmed,
	}
	if o.Err != nil {
		r.Broken = o.Err.Error()
	}
	return r
}

var columns = []string{"fault", "noticed after", "alert", "alert after", "action", "healed after", "jobs harmed"}

func (r row) cells() []string {
	healed := after(r.Healed)
	if r.Broken != "" {
		healed = "BROKEN"
	}
	name := r.Fault
	if r.Again != "" {
		name += " (again: " + r.Again + ")"
	}
	return []string{name, after(r.Noticed), dash(r.Alert), after(r.Alerted), dash(r.Action), healed, strconv.Itoa(r.Harmed)}
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

// appendTo adds the row to a file of rows, one on a line.
func (r row) appendTo(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(f).Encode(r), f.Close())
}

// readRows reads the rows that appendTo has written whole. A machine that broke may have written none, or half of one.
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

// merge puts the rows of now into those of an earlier run, in the order of the names, and marks them.
func merge(earlier, now []row, mark string, names []string) []row {
	for _, r := range now {
		r.Again = mark
		earlier = append(slices.DeleteFunc(earlier, func(e row) bool { return e.Fault == r.Fault }), r)
	}
	// What is in the list no more is not promised any more.
	earlier = slices.DeleteFunc(earlier, func(e row) bool { return !slices.Contains(names, e.Fault) })
	slices.SortStableFunc(earlier, func(a, b row) int { return slices.Index(names, a.Fault) - slices.Index(names, b.Fault) })
	return earlier
}
