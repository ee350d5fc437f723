package github

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// TestClockNeverExaggerates compares the estimate with a known offset: rounding to seconds and slow
// requests may hide a part of it and never add to it.
func TestClockNeverExaggerates(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		offset := time.Duration(r.Int64N(int64(10*time.Second))) - 5*time.Second
		var c clockEstimate
		now := time.Now()
		var widest time.Duration
		for range 1 + r.IntN(20) {
			now = now.Add(time.Duration(r.Int64N(int64(30 * time.Second))))
			out, back := time.Duration(r.Int64N(int64(900*time.Millisecond))), time.Duration(r.Int64N(int64(900*time.Millisecond)))
			answered := now.Add(out)
			date := answered.Add(-offset).UTC().Truncate(time.Second).Format(http.TimeFormat)
			c.add(now, answered.Add(back), date)
			widest = out + back
			now = answered.Add(back)
		}
		got := c.sample()
		if got.At.IsZero() || got.Offset.Abs() > offset.Abs() || got.Offset < 0 && offset > 0 || got.Offset > 0 && offset < 0 {
			t.Fatalf("offset %v, estimate %v", offset, got)
		}
		if (offset - got.Offset).Abs() > time.Second+widest {
			t.Fatalf("offset %v, estimate %v, last round trip %v", offset, got, widest)
		}
	}
}

// TestClockNarrows has eight answers at different parts of the second.
func TestClockNarrows(t *testing.T) {
	var c clockEstimate
	base := time.Now()
	for i := range 8 {
		at := base.Add(time.Duration(i) * 10125 * time.Millisecond)
		c.add(at, at.Add(10*time.Millisecond), at.Add(-3*time.Second).UTC().Truncate(time.Second).Format(http.TimeFormat))
	}
	if got := c.sample().Offset; got < 2800*time.Millisecond || got > 3*time.Second {
		t.Errorf("%v for 3 s", got)
	}
}

func TestClockFollowsStep(t *testing.T) {
	var c clockEstimate
	base := time.Now()
	add := func(after, offset time.Duration) {
		at := base.Add(after)
		c.add(at, at, at.Add(-offset).UTC().Truncate(time.Second).Format(http.TimeFormat))
	}
	add(0, 0)
	add(30*time.Second, 0)
	if got := c.sample().Offset; got != 0 {
		t.Errorf("%v", got)
	}
	add(60*time.Second, 10*time.Second)
	if got := c.sample().Offset; got < 9*time.Second || got > 10*time.Second {
		t.Errorf("%v", got)
	}
	add(90*time.Second, 0)
	if got := c.sample().Offset; got != 0 {
		t.Errorf("%v", got)
	}
}

func TestClockIgnores(t *testing.T) {
	var c clockEstimate
	now := time.Now()
	c.add(now, now, "")
	c.add(now, now, "yesterday")
	c.add(now, now.Add(3*time.Second), now.UTC().Format(http.TimeFormat))
	c.add(now, now.Add(-time.Second), now.UTC().Format(http.TimeFormat))
	if got := c.sample(); !got.At.IsZero() || got.Offset != 0 {
		t.Errorf("%+v", got)
	}
}

// TestClockOfAnswers takes the sample from the header of real requests.
func TestClockOfAnswers(t *testing.T) {
	f := newFakeGitHub(1)
	c := newClient(t, f, nil)
	list := func() runner.ClockSample {
		t.Helper()
		if _, err := c.Runners(t.Context(), mustScope(t, "octo")); err != nil {
			t.Fatal(err)
		}
		return c.Snapshot().Clock
	}
	if got := list(); got.Offset != 0 || got.At.IsZero() {
		t.Errorf("%+v", got)
	}
	f.do(func() { f.skew = -time.Minute })                               // GitHub is behind: we are ahead; also by a 304
	if got := list().Offset; got < 50*time.Second || got > time.Minute { // less by the rounding and the round trip
		t.Errorf("%v", got)
	}
	f.do(func() { f.skew = 0; f.header["Age"] = "60" })
	if got := list().Offset; got < 50*time.Second {
		t.Errorf("a cache between us set the clock to %v", got)
	}
}
