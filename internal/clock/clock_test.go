package clock

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/facebook/time/ntp/chrony"
	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct{ want, in []time.Duration }{
		{[]time.Duration{3}, []time.Duration{3}},
		{[]time.Duration{4}, []time.Duration{5, 3}},
		{[]time.Duration{2}, []time.Duration{900, 1, 2}},
		{[]time.Duration{-1}, []time.Duration{-3, 1, -900, 900}},
		{[]time.Duration{0}, []time.Duration{-maxOffset * time.Second, maxOffset * time.Second}},
	} {
		if got := median(tc.in); got != tc.want[0] {
			t.Errorf("%v: %v", tc.in, got)
		}
	}
}

// TestSNTP has servers that are right, wrong, unsynchronized, rate-limiting and dead.
func TestSNTP(t *testing.T) {
	good, alsoGood, wrong := newNTPServer(t, 3*time.Second), newNTPServer(t, 3*time.Second), newNTPServer(t, -time.Hour)
	confused, rude := newNTPServer(t, time.Minute), newNTPServer(t, time.Minute)
	confused.leap.Store(3)
	rude.kiss.Store(true)
	s := newSNTP([]string{good.addr, confused.addr, wrong.addr, rude.addr, alsoGood.addr, "127.0.0.1:1"}, waitLimit)
	for range 2 {
		got, err := s.query(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !got.HasOffset || got.SynchronizedKnown || got.Source != SourceNTP || got.At.IsZero() ||
			(got.Offset+3*time.Second).Abs() > tolerance {
			t.Errorf("%+v; want about -3 s: the local clock is behind", got)
		}
	}
	if rude.asked.Load() != 1 || good.asked.Load() != 2 {
		t.Errorf("the rude server was asked %d times, the good one %d times", rude.asked.Load(), good.asked.Load())
	}
	if _, err := newSNTP([]string{confused.addr, rude.addr}, waitLimit).query(t.Context()); err == nil {
		t.Error("no server is valid, yet there is a sample")
	}
}

// TestSNTPInTime has a server that never answers.
func TestSNTPInTime(t *testing.T) {
	conn := listenUDP(t)
	began := time.Now()
	if _, err := newSNTP([]string{conn.LocalAddr().String()}, 100*time.Millisecond).query(t.Context()); err == nil {
		t.Error("no error")
	}
	if _, err := queryChrony(t.Context(), conn.LocalAddr().String(), 100*time.Millisecond); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newSNTP([]string{conn.LocalAddr().String()}, time.Hour).query(ctx); err == nil {
		t.Error("no error")
	}
	if _, err := queryChrony(ctx, conn.LocalAddr().String(), time.Hour); err == nil {
		t.Error("no error")
	}
	if took := time.Since(began); took > 2*waitLimit {
		t.Errorf("took %v", took)
	}
}

func TestChronySample(t *testing.T) {
	good := chrony.Tracking{RefTime: time.Now(), LastUpdateInterval: 64, RefID: 0x50484330, Stratum: 1, CurrentCorrection: 0.25, RootDelay: 0.01, RootDispersion: 0.01}
	tests := map[string]struct {
		change func(*chrony.Tracking)
		offset time.Duration
		has    bool
		err    bool
	}{
		"behind":         {func(*chrony.Tracking) {}, -250 * time.Millisecond, true, false},
		"ahead":          {func(r *chrony.Tracking) { r.CurrentCorrection = -3 }, 3 * time.Second, true, false},
		"leap second":    {func(r *chrony.Tracking) { r.LeapStatus = 1 }, -250 * time.Millisecond, true, false},
		"unsynchronized": {func(r *chrony.Tracking) { r.LeapStatus = 3 }, 0, false, false},
		"no reference":   {func(r *chrony.Tracking) { r.RefID = 0 }, 0, false, false},
		"local":          {func(r *chrony.Tracking) { r.RefID = 0x7F7F0101 }, 0, false, false},
		"unsure":         {func(r *chrony.Tracking) { r.RootDispersion = 16 }, 0, false, false},
		"old":            {func(r *chrony.Tracking) { r.RefTime = time.Now().Add(-11 * time.Minute) }, 0, false, false},
		"rare":           {func(r *chrony.Tracking) { r.RefTime, r.LastUpdateInterval = time.Now().Add(-time.Hour), 1024 }, -250 * time.Millisecond, true, false},
		"of the future":  {func(r *chrony.Tracking) { r.RefTime = time.Now().Add(time.Hour) }, 0, false, false},
		"absurd":         {func(r *chrony.Tracking) { r.CurrentCorrection = 1e12 }, 0, false, true},
		"no number":      {func(r *chrony.Tracking) { r.RootDelay = math.NaN() }, 0, false, true},
	}
	for name, tc := range tests {
		tr := good
		tc.change(&tr)
		s, err := chronySample(&tr)
		if (err != nil) != tc.err || s.Offset != tc.offset || s.HasOffset != tc.has || s.Synchronized != (tc.has || name == "old" || name == "of the future") {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

// scripted answers every request with bytes of the test. If echo is set, the answer gets the
// sequence number of the request.
type scripted struct {
	answer []byte
	echo   bool
	seq    []byte
}

func (s *scripted) Write(p []byte) (int, error) {
	s.seq = bytes.Clone(p[8:12])
	return len(p), nil
}

func (s *scripted) Read(p []byte) (int, error) {
	a := bytes.Clone(s.answer)
	if s.echo && len(a) >= 20 {
		copy(a[16:20], s.seq)
	}
	return copy(p, a), nil
}

// trackingAnswer is an answer as chronyd 4 sends it: header of 28 bytes, then the fields of
// `tracking`.
func trackingAnswer() []byte {
	a := make([]byte, 28+76)
	a[0], a[1] = 6, 2
	binary.BigEndian.PutUint16(a[4:], 33)
	binary.BigEndian.PutUint16(a[6:], 5)
	binary.BigEndian.PutUint32(a[28:], 0x50484330)
	return a
}

func TestExchange(t *testing.T) {
	if _, err := exchange(&scripted{answer: trackingAnswer(), echo: true}); err != nil {
		t.Errorf("a good answer: %v", err)
	}
	if _, err := exchange(&scripted{answer: trackingAnswer()}); err == nil {
		t.Error("an answer to another question was accepted")
	}
	request := trackingAnswer()
	request[1] = 1
	if _, err := exchange(&scripted{answer: request, echo: true}); err == nil {
		t.Error("a question was accepted as an answer")
	}
	refused := trackingAnswer()
	refused[9] = 2
	if _, err := exchange(&scripted{answer: refused, echo: true}); err == nil {
		t.Error("a refusal was accepted")
	}
}

func FuzzChronyReply(f *testing.F) {
	f.Add(trackingAnswer())
	f.Add([]byte{})
	f.Add(trackingAnswer()[:40])
	f.Fuzz(func(t *testing.T, answer []byte) {
		raw, err := exchange(&scripted{answer: answer, echo: true})
		if err != nil {
			return
		}
		s, err := chronySample(raw)
		if err != nil {
			return
		}
		if s.Offset.Abs() > maxOffset*time.Second || s.HasOffset && !s.Synchronized || !s.HasOffset && s.Offset != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// datagram is a connection that answers every request with bytes of the test. If echo is set, the
// answer gets the time stamp of the request.
type datagram struct {
	net.Conn // nil: what is not below is not called

	answer []byte
	echo   bool
	stamp  []byte
}

func (d *datagram) Write(p []byte) (int, error) {
	d.stamp = bytes.Clone(p[40:48])
	return len(p), nil
}

func (d *datagram) Read(p []byte) (int, error) {
	a := bytes.Clone(d.answer)
	if d.echo && len(a) >= 32 {
		copy(a[24:32], d.stamp)
	}
	return copy(p, a), nil
}

func (*datagram) SetDeadline(time.Time) error { return nil }
func (*datagram) Close() error                { return nil }

// FuzzSNTPReply has arbitrary answers.
func FuzzSNTPReply(f *testing.F) {
	good := new(ntpServer).answer(make([]byte, 48))
	f.Add(good)
	f.Add([]byte{})
	f.Add(good[:47])
	f.Add(append(bytes.Clone(good), make([]byte, 20)...)) // a key and a digest
	f.Fuzz(func(t *testing.T, answer []byte) {
		s := newSNTP([]string{"127.0.0.1"}, time.Second)
		for _, echo := range []bool{false, true} {
			s.dial = func(context.Context, string, string) (net.Conn, error) {
				return &datagram{answer: answer, echo: echo}, nil
			}
			got, err := s.query(t.Context())
			if err == nil && (!echo || !got.HasOffset || got.Offset.Abs() > maxOffset*time.Second || got.SynchronizedKnown) {
				t.Errorf("echo %v: %+v", echo, got)
			}
		}
	})
}

// TestOnce asks a chronyd that never synchronized, a server, and no source.
func TestOnce(t *testing.T) {
	server := newNTPServer(t, 3*time.Second)
	address, _ := startChronyd(t, "")
	until(t, "answer", tracking(address), answers)
	got := New(Options{ChronyAddress: address, NTPServers: []string{server.addr}, Timeout: waitLimit}).Once(t.Context())
	if len(got) != 2 || got[0].Source != SourceChrony || got[0].Err != nil || got[0].Sample.HasOffset || got[0].Sample.Synchronized ||
		got[1].Source != SourceNTP || got[1].Err != nil || (got[1].Sample.Offset+3*time.Second).Abs() > tolerance {
		t.Errorf("%+v", got)
	}
	silent := listenUDP(t).LocalAddr().String()
	began := time.Now()
	got = New(Options{ChronyAddress: silent, NTPServers: []string{silent}, Timeout: 50 * time.Millisecond}).Once(t.Context())
	if len(got) != 2 || got[0].Err == nil || got[1].Err == nil || got[0].Hint == "" || got[1].Hint == "" || time.Since(began) > waitLimit {
		t.Errorf("%+v after %v", got, time.Since(began))
	}
	if got := New(Options{}).Once(t.Context()); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestJumped(t *testing.T) {
	const s = time.Second
	at := reading{1000 * s, 100 * s, 200 * s}
	for name, tc := range map[string]struct {
		wall, mono, boot time.Duration
		want             []jump
	}{
		"nothing":             {s, s, s, nil},
		"a pause":             {time.Hour, time.Hour, time.Hour, nil},
		"a small correction":  {s + 400*time.Millisecond, s, s, nil},
		"set ahead":           {4 * s, s, s, []jump{{JumpForward, 3 * s}}},
		"set back":            {-2 * s, s, s, []jump{{JumpBackward, 3 * s}}},
		"sleep":               {time.Hour, s, time.Hour, []jump{{JumpSleep, time.Hour - s}}},
		"sleep and set ahead": {2 * time.Hour, s, time.Hour, []jump{{JumpSleep, time.Hour - s}, {JumpForward, time.Hour}}},
		"sleep, not followed": {s, s, time.Hour, []jump{{JumpSleep, time.Hour - s}, {JumpBackward, time.Hour - s}}},
	} {
		after := reading{at.wall + tc.wall, at.mono + tc.mono, at.boot + tc.boot}
		if d := cmp.Diff(tc.want, jumped(at, after), cmp.AllowUnexported(jump{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestReadClocks(t *testing.T) {
	read := func() (r reading) {
		t.Helper()
		for range 100 { // a busy machine interrupts a reading
			if r, ok := readClocks(); ok {
				return r
			}
		}
		t.Fatal("the clocks cannot be read close enough to each other")
		return r
	}
	before := time.Now()
	a, b := read(), read()
	after := time.Now()
	if b.mono <= a.mono || b.boot <= a.boot || a.boot < a.mono-maxReadTime || len(jumped(a, b)) != 0 {
		t.Errorf("%+v %+v", a, b)
	}
	if a.wall < time.Duration(before.UnixNano()) || b.wall > time.Duration(after.UnixNano()) {
		t.Errorf("wall clock %v, %v; want it between %v and %v", a.wall, b.wall, before.UnixNano(), after.UnixNano())
	}
}

// log is a log that a test can read during writes.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// TestPoll has a source that fails, recovers and fails, in fake time.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		m := New(Options{Logger: slog.New(slog.NewTextHandler(&l, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		var asked atomic.Int64
		var failing atomic.Bool
		failing.Store(true)
		now := make(chan struct{}, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			m.poll(ctx, source{name: SourceChrony, interval: 5 * time.Second, now: now, query: func(context.Context) (runner.ClockSample, error) {
				asked.Add(1)
				if failing.Load() {
					return runner.ClockSample{}, errors.New("dead")
				}
				return runner.ClockSample{Source: SourceChrony, HasOffset: true, Offset: time.Second}, nil
			}})
		})
		check := func(wantAsked int64, wantSamples, silent, back int) {
			t.Helper()
			synctest.Wait()
			if asked.Load() != wantAsked || len(m.Samples()) != wantSamples || l.count("does not answer") != silent || l.count("answers again") != back {
				t.Errorf("asked %d, %d samples, log:\n%s", asked.Load(), len(m.Samples()), l.b.String())
			}
		}
		check(1, 0, 1, 0) // at once
		time.Sleep(50 * time.Second)
		check(11, 0, 1, 0) // logged once
		failing.Store(false)
		time.Sleep(5 * time.Second)
		check(12, 1, 1, 1)
		now <- struct{}{}
		check(13, 1, 1, 1) // at once after a jump
		failing.Store(true)
		time.Sleep(5 * time.Second)
		check(14, 0, 2, 1)
		cancel()
		wg.Wait()
	})
}

// TestWatchJumps sets fake clocks.
func TestWatchJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		began := time.Now()
		var step, slept atomic.Int64
		var readable atomic.Bool
		readable.Store(true)
		m.read = func() (reading, bool) {
			up := time.Since(began)
			boot := up + time.Duration(slept.Load())
			return reading{wall: boot + time.Duration(step.Load()), mono: up, boot: boot}, readable.Load()
		}
		ctx, cancel := context.WithCancel(t.Context())
		now := make(chan struct{}, 1)
		m.sources = []source{{now: now}}
		var wg sync.WaitGroup
		wg.Go(func() { m.watchJumps(ctx) })
		check := func(forward, backward, sleep uint64) {
			t.Helper()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			want := map[string]uint64{JumpForward: forward, JumpBackward: backward, JumpSleep: sleep}
			if d := cmp.Diff(want, m.Jumps()); d != "" {
				t.Error(d)
			}
		}
		check(0, 0, 0)
		if len(now) != 0 {
			t.Error("signaled without a jump")
		}
		step.Store(int64(3 * time.Second))
		check(1, 0, 0)
		if d := cmp.Diff(map[string]time.Duration{JumpForward: 3 * time.Second}, m.LastJumps()); d != "" {
			t.Error(d)
		}
		if len(now) != 1 {
			t.Error("not signaled")
		}
		step.Store(0)
		check(1, 1, 0)
		slept.Store(int64(time.Hour))
		check(1, 1, 1)
		readable.Store(false)
		step.Store(int64(time.Minute))
		check(1, 1, 1)
		readable.Store(true)
		check(2, 1, 1) // what happened meanwhile is not lost
		cancel()
		wg.Wait()
	})
}

// TestRun uses a real chronyd and a server that is 3 s ahead.
func TestRun(t *testing.T) {
	server := newNTPServer(t, 3*time.Second)
	address, stop := startChronyd(t, "")
	var l log
	m := New(Options{
		ChronyAddress: address, NTPServers: []string{server.addr}, ChronyInterval: 20 * time.Millisecond, NTPInterval: 20 * time.Millisecond, Timeout: waitLimit,
		Logger: slog.New(slog.NewTextHandler(&l, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	var s []runner.ClockSample
	count := func(n int) func(runner.ClockSample, error) bool {
		return func(runner.ClockSample, error) bool { s = m.Samples(); return len(s) == n }
	}
	nothing := func(context.Context) (runner.ClockSample, error) { return runner.ClockSample{}, nil }
	until(t, "both sources", nothing, count(2))
	if s[0].Source != SourceChrony || s[0].HasOffset || s[1].Source != SourceNTP || (s[1].Offset+3*time.Second).Abs() > tolerance {
		t.Errorf("%+v", s)
	}
	stop()
	until(t, "SNTP alone", nothing, count(1))
	if s[0].Source != SourceNTP {
		t.Errorf("%+v", s)
	}
	cancel()
	wg.Wait()
}

func TestOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		m := New(Options{})
		m.read = func() (reading, bool) { return reading{}, true }
		if err := m.Run(ctx); err != nil || len(m.Samples()) != 0 {
			t.Error(err, m.Samples())
		}
	})
}
