package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Phase is a phase of a slot; see the package comment.
type Phase string

// The phases.
const (
	Waiting     Phase = "waiting"
	Registering Phase = "registering"
	Connecting  Phase = "connecting"
	Listening   Phase = "listening"
	Job         Phase = "job"
	Cleaning    Phase = "cleaning"
	Draining    Phase = "draining"
	Stopped     Phase = "stopped"
)

// State is the content of the state file. It contains no secret.
type State struct {
	Slot     string    `json:"slot"`
	Phase    Phase     `json:"phase"`
	Since    time.Time `json:"since"`   // of the phase
	Updated  time.Time `json:"updated"` // when the supervisor last wrote the file
	Name     string    `json:"registration_name,omitempty"`
	ID       int64     `json:"registration_id,omitempty"`
	PID      int       `json:"listener_pid,omitempty"` // 0: no listener
	Failures int       `json:"failures_in_a_row"`
	Failure  string    `json:"failure,omitempty"` // cause of the last failure
	Cause    string    `json:"cause"`             // why the phase was entered, or the last attempt failed
	Jobs     uint64    `json:"jobs"`              // completed since the supervisor started

	Blocked      string       `json:"blocked,omitempty"`           // cause of the present or last wait
	BlockedSince time.Time    `json:"blocked_since,omitzero"`      // zero: not blocked
	GitHub       GitHubStatus `json:"github,omitzero"`             // of the registration in use
	Pending      []int64      `json:"pending_deletions,omitempty"` // ids of unused registrations
}

// write replaces the file, so that a reader sees the old or the new state. It does not sync: the
// health check needs a whole file in time, and no job that floods the disk may delay it.
func (s State) write(path string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("replace state file: %w", err)
	}
	return nil
}

// ReadState reads a state file.
func ReadState(path string) (State, error) {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return State{}, fmt.Errorf("read state file: %w", err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, fmt.Errorf("read state file %s: %w", path, err)
	}
	return s, nil
}
