package remedy

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
)

// maxPause bounds a pause that ends by itself; a longer one is meant to be ended by a person.
const maxPause = 30 * 24 * time.Hour

// pauseRecord is a pause that ends by itself, on disk. One that does not is "1", none is "0".
type pauseRecord struct {
	Until  time.Time     `json:"until"`
	Length time.Duration `json:"length"`
}

var keyPaused = []byte("paused")

// pausedAt reports whether a person's pause holds.
func (s *state) pausedAt(now time.Time) bool {
	return s.paused && (s.pausedUntil.IsZero() || now.Before(s.pausedUntil))
}

// restorePause reads what Pause and Resume wrote. A wall clock that jumped back makes no pause longer.
func (s *state) restorePause(v []byte, now time.Time) error {
	if !bytes.HasPrefix(v, []byte("{")) {
		s.paused = string(v) == "1"
		return nil
	}
	var p pauseRecord
	if err := json.Unmarshal(v, &p); err != nil {
		return err
	}
	left := remaining(now, p.Until, p.Length)
	s.paused, s.pausedUntil = left > 0, now.Add(left)
	return nil
}

// Pause makes every alert be refused, durably: for that long, or until Resume if it is 0. What was begun is finished, and
// what was stopped is started.
func (r *Remediator) Pause(ctx context.Context, length time.Duration) error {
	until := time.Time{}
	w := write{bucket: bucketMeta, key: keyPaused, value: []byte("1")}
	if length > 0 {
		until = time.Now().Add(length)
		w = put(bucketMeta, keyPaused, pauseRecord{until, length})
	}
	return r.setPause(ctx, w, true, until)
}

// Resume ends a pause.
func (r *Remediator) Resume(ctx context.Context) error {
	return r.setPause(ctx, write{bucket: bucketMeta, key: keyPaused, value: []byte("0")}, false, time.Time{})
}

func (r *Remediator) setPause(ctx context.Context, w write, paused bool, until time.Time) error {
	if err := r.write(ctx, w); err != nil {
		return err
	}
	r.mu.Lock()
	r.state.paused, r.state.pausedUntil = paused, until
	r.mu.Unlock()
	if until.IsZero() {
		r.log.Info("Set by an operator", "paused", paused)
	} else {
		r.log.Info("Set by an operator", "paused", paused, "until", until.UTC())
	}
	return nil
}
