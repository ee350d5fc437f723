package measure

import (
	"context"
	"fmt"
	"time"
)

// patience is how long is waited for what should come much sooner.
const patience = 2 * time.Minute

// Pause waits; an error if ctx ended first.
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

// Until asks for a condition again after each pause, for two minutes at the most.
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
			return fmt.Errorf("waited in vain for %s: %w", what, err)
		}
	}
}
