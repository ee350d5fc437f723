package measure

import (
	"context"
	"fmt"
	"time"
)

// patience bounds waits that should be much shorter.
const patience = 2 * time.Minute

// Pause waits; an error if ctx ends first.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Every calls do at each interval until the time is over.
func Every(ctx context.Context, interval, whole time.Duration, do func() error) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for end := time.After(whole); ; {
		select {
		case <-t.C:
			if err := do(); err != nil {
				return err
			}
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Until polls a condition, for at most two minutes.
func Until(ctx context.Context, what string, pause time.Duration, condition func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		switch ok, err := condition(); {
		case err != nil:
			return fmt.Errorf("waiting for %s: %w", what, err)
		case ok:
			return nil
		}
		if err := Pause(ctx, pause); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
	}
}
