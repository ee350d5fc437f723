package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// row is the result of one fault. Times are in seconds since the injection.
type row struct {
	Fault    string  `json:"fault"`
	Detected float64 `json:"detected_seconds"`
	Alerted  float64 `json:"alert_seconds"`
	Healed   float64 `json:"healed_seconds"`
	// Harmed counts the failed jobs beyond those that the fault may interrupt.
	Harmed int    `json:"jobs_harmed"`
	Failed string `json:"failed,omitempty"`
}

func newRow(r scenario.Result, harmed int, err error) row {
	out := row{
		Fault: r.Fault.Name, Detected: r.Metric.Seconds(), Alerted: r.Alert.Seconds(), Healed: r.Healed.Seconds(), Harmed: harmed,
	}
	if err != nil {
		out.Failed = err.Error()
	}
	return out
}

var columns = []string{"fault", "detected after", "alert", "alert after", "action", "healed after", "jobs harmed"}

func (r row) cells(f scenario.Fault) []string {
	healed := after(r.Healed)
	if r.Failed != "" {
		healed = "FAILED"
	}
	return []string{
		r.Fault, after(r.Detected), dash(f.Alert["alertname"]), after(r.Alerted), dash(f.Action), healed, strconv.Itoa(r.Harmed),
	}
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
