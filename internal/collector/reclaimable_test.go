package collector

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// It is measured when the engine is up, at each interval and never by a scrape; a failure takes the
// old value away.
func TestReclaimableInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up, broken atomic.Bool
		var asked atomic.Int32
		r := &Reclaimable{
			Measure: func(ctx context.Context) (map[string]uint64, error) {
				asked.Add(1)
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(30 * time.Second): // it is slow
				}
				if broken.Load() {
					return nil, errors.New("broken")
				}
				return map[string]uint64{"images": 7}, nil
			},
			Up: up.Load, Interval: time.Second, Logger: quiet(), // too often: ten minutes
		}
		source := onePath(r)
		expect := func(when string, times int32, exported bool) {
			t.Helper()
			synctest.Wait()
			got := exposition(t, source)
			if has := strings.Contains(got, `ghostrunner_docker_reclaimable_bytes{kind="images"} 7`); asked.Load() != times || has != exported {
				t.Errorf("%s: asked %d times, want %d; exported %t, want %t", when, asked.Load(), times, has, exported)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(time.Hour)
		expect("while Docker is down", 0, false)
		up.Store(true)
		time.Sleep(2 * time.Second)
		expect("while it is measured", 1, false)
		time.Sleep(30 * time.Second)
		expect("measured", 1, true)
		time.Sleep(MinReclaimableInterval - time.Minute)
		expect("before the next is due", 1, true)
		up.Store(false)
		expect("Docker went down", 1, false)
		time.Sleep(time.Hour)
		expect("Docker is still down", 1, false)
		up.Store(true)
		expect("an old value after Docker came back", 1, false)
		time.Sleep(time.Minute)
		expect("measured again", 2, true)
		broken.Store(true)
		time.Sleep(MinReclaimableInterval + 20*time.Second)
		expect("failed", 3, false)
		broken.Store(false)
		time.Sleep(2 * time.Minute)
		expect("tried again", 4, true)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
