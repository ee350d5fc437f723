package listener

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var t0 = time.Date(2026, 8, 20, 12, 0, 0, 0, time.UTC)

const (
	listening   = ts + "Listening for Jobs"
	retry       = ts + "Runner connect error: Name or service not known (host:443). Retrying until reconnected."
	reconnected = ts + "Runner reconnected."
	attempt     = "[RUNNER 2026-08-20 12:00:00Z INFO BrokerMessageListener] Sleeping for 28.273 seconds before retrying."
	connected   = "√ Connected to GitHub"
	running     = ts + "Running job: build"
	completed   = ts + "Job build completed with result: Succeeded"
	exited      = "Runner listener exited with code 2."
)

// at is a line and the second in which it is written.
type at struct {
	second int
	line   string
}

func feed(s *Session, lines ...at) {
	for _, l := range lines {
		s.Line(t0.Add(time.Duration(l.second)*time.Second), []byte(l.line))
	}
}

func second(n int) time.Time { return t0.Add(time.Duration(n) * time.Second) }

func TestRetryingIsAState(t *testing.T) {
	for name, tc := range map[string]struct {
		lines []at
		want  bool
		since int
	}{
		"the line":                      {[]at{{0, listening}, {5, retry}}, true, 5},
		"connected is no recovery":      {[]at{{5, retry}, {35, connected}, {65, connected}}, true, 5},
		"attempts are no recovery":      {[]at{{5, retry}, {35, attempt}}, true, 5},
		"reconnected":                   {[]at{{5, retry}, {35, reconnected}}, false, 0},
		"listening":                     {[]at{{5, retry}, {35, listening}}, false, 0},
		"listening a second later":      {[]at{{5, retry}, {6, listening}}, false, 0},
		"listening, which came first":   {[]at{{5, connected}, {5, retry}, {5, listening}}, true, 5},
		"a new attempt at once":         {[]at{{5, retry}, {5, connected}, {5, listening}}, false, 0},
		"a new outage at once":          {[]at{{5, retry}, {5, connected}, {5, retry}, {5, listening}}, true, 5},
		"a job starts":                  {[]at{{5, retry}, {35, running}}, false, 0},
		"a job completes":               {[]at{{1, running}, {5, retry}, {35, completed}}, false, 0},
		"the listener ends":             {[]at{{5, retry}, {35, exited}}, false, 0},
		"exit 2 and the next process":   {[]at{{5, retry}, {35, exited}, {41, retry}}, true, 5},
		"flapping keeps the clock":      {[]at{{5, retry}, {35, listening}, {65, retry}, {95, listening}, {125, retry}}, true, 5},
		"long peace resets the clock":   {[]at{{5, retry}, {35, listening}, {156, retry}}, true, 156},
		"edge of peace keeps the clock": {[]at{{5, retry}, {35, listening}, {155, retry}}, true, 5},
		"a job resets the clock":        {[]at{{5, retry}, {35, running}, {45, completed}, {65, retry}}, true, 65},
		"the same line twice":           {[]at{{5, retry}, {35, retry}}, true, 5},
		"a job with the line as name":   {[]at{{5, ts + "Running job: " + retry}}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var s Session
			feed(&s, tc.lines...)
			st := s.State()
			if st.Retrying != tc.want {
				t.Errorf("Retrying = %v, want %v", st.Retrying, tc.want)
			}
			want := time.Time{}
			if tc.want {
				want = second(tc.since)
			}
			if !st.RetryingSince.Equal(want) {
				t.Errorf("RetryingSince = %v, want %v", st.RetryingSince, want)
			}
		})
	}
}

func TestContainerRestartResetsState(t *testing.T) {
	var s Session
	feed(&s, at{0, listening}, at{1, running}, at{2, "Runner is not configured."}, at{5, retry})
	s.ProcessChanged()
	st := s.State()
	if st.Retrying || st.Listening || st.JobRunning || st.Job != "" || !st.RetryingSince.IsZero() || !st.JobStarted.IsZero() {
		t.Errorf("state of the old process: %+v", st)
	}
	if c := s.Counts(); c.JobsStarted != 1 || !s.LastFailures()[NotConfigured].Equal(second(2)) {
		t.Errorf("counters or times of failures lost: %+v, %v", c, s.LastFailures())
	}
	feed(&s, at{25, retry})
	if st := s.State(); !st.RetryingSince.Equal(second(25)) {
		t.Errorf("RetryingSince = %v, want that of the new process", st.RetryingSince)
	}
}

func TestAttemptsAreNoOutages(t *testing.T) {
	var s Session
	feed(&s, at{0, listening}, at{5, "[RUNNER 2026-08-20 12:00:00Z ERR  Terminal] WRITE ERROR: " + retry}, at{5, retry},
		at{6, attempt}, at{36, attempt}, at{66, attempt}, at{90, "[WORKER 2026-08-20 12:00:00Z INFO X] " + retry}, at{91, ts + "novelty"})
	c := s.Counts()
	if c.RetryLoopMatches != 1 || c.LogLines != 8 || c.Unrecognized != 1 {
		t.Errorf("counts = %+v", c)
	}
	if st := s.State(); !st.LastRetry.Equal(second(66)) {
		t.Errorf("LastRetry = %v", st.LastRetry)
	}
}

func TestJobs(t *testing.T) {
	var s Session
	feed(&s, at{0, listening}, at{10, running})
	if st := s.State(); !st.JobRunning || st.Job != "build" || !st.JobStarted.Equal(second(10)) || !st.Listening {
		t.Errorf("state = %+v", st)
	}
	feed(&s, at{20, completed})
	if st := s.State(); st.JobRunning || st.Job != "" || !st.JobStarted.IsZero() {
		t.Errorf("state = %+v", st)
	}
	// A job that never completes (crash, OOM kill) ends with its process, at the latest when the
	// next one listens.
	feed(&s, at{30, running}, at{40, connected}, at{41, listening})
	if s.State().JobRunning {
		t.Error("a job survived its listener")
	}
	feed(&s, at{50, running}, at{60, ts + "Job build completed with result: Exploded"})
	c := s.Counts()
	if s.State().JobRunning || c.JobsStarted != 3 || c.JobsCompleted[Succeeded] != 1 || c.Unrecognized != 1 || len(c.JobsCompleted) != 6 {
		t.Errorf("counts = %+v", c)
	}
}

func TestFailuresAreCountedOnce(t *testing.T) {
	var s Session
	feed(&s, at{0, "The runner no longer exists on the server. Please reconfigure the runner."}, at{0, "Failed to create session. Not found"}, at{1, exited})
	feed(&s, at{2, "A session for this runner already exists."}, at{3, "Failed to create session. Error: Conflict"}, at{4, exited})
	feed(&s, at{5, "Failed to create session. Something else"}, at{6, exited})
	feed(&s, at{7, "An error occurred: one"}, at{8, exited})
	want := map[Reason]uint64{RegistrationDeleted: 1, VersionDeprecated: 0, ClockSkew: 0, Unauthorized: 0, NotConfigured: 0, Other: 2}
	if diff := cmp.Diff(want, s.Counts().Failures); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	if s.Counts().SessionConflicts != 1 {
		t.Errorf("conflicts = %d", s.Counts().SessionConflicts)
	}
	if st := s.State(); st.LastFailure != Other {
		t.Errorf("LastFailure = %q", st.LastFailure)
	}
	times := map[Reason]time.Time{RegistrationDeleted: second(0), Other: second(7)}
	if diff := cmp.Diff(times, s.LastFailures()); diff != "" {
		t.Errorf("times of failures (-want +got):\n%s", diff)
	}
	feed(&s, at{9, listening}, at{9, "Current runner version: '2.336.0'"})
	if st := s.State(); st.LastFailure != "" || st.Version != "2.336.0" {
		t.Errorf("state = %+v", st)
	}
}

func TestCountsStayAsTheyWere(t *testing.T) {
	var s Session
	before := s.Counts()
	feed(&s, at{0, running}, at{1, completed})
	between := s.Counts()
	feed(&s, at{2, running}, at{3, completed})
	if n, m := before.JobsCompleted[Succeeded], between.JobsCompleted[Succeeded]; n != 0 || m != 1 {
		t.Errorf("handed out before the first job: %d, after it: %d", n, m)
	}
	if c := s.Counts(); c.JobsCompleted[Succeeded] != 2 || c.JobsCompleted[Failed] != 0 {
		t.Errorf("counts = %+v", c)
	}
}

func TestFleetReplayRestoresStateWithoutCounting(t *testing.T) {
	var took []time.Duration
	f := NewFleet(func(d time.Duration) { took = append(took, d) })
	f.Started("b", "2", true)
	f.Started("a", "1", true)
	f.Line("a", "1", second(1), []byte("Runner is not configured."))
	f.Line("a", "1", second(2), []byte(listening))
	f.Line("a", "1", second(3), []byte(running))
	f.Line("a", "1", second(4), []byte(completed))
	f.Line("a", "1", second(50), []byte(running))
	f.Line("b", "2", second(60), []byte(retry))
	for _, s := range f.Slots() {
		if s.Known {
			t.Errorf("state of the past is shown: %+v", s)
		}
	}
	f.CaughtUp("a", "1")
	f.CaughtUp("b", "2")
	slots := f.Slots()
	if len(slots) != 2 || slots[0].Runner != "a" || slots[1].Runner != "b" {
		t.Fatalf("slots = %+v", slots)
	}
	a, b := slots[0], slots[1]
	if !a.Known || !a.State.JobRunning || !a.LastFailures[NotConfigured].Equal(second(1)) || !b.State.RetryingSince.Equal(second(60)) {
		t.Errorf("not restored: %+v", slots)
	}
	if a.Counts.LogLines != 0 || a.Counts.JobsStarted != 0 || a.Counts.Failures[NotConfigured] != 0 || len(took) != 0 {
		t.Errorf("replayed lines were counted: %+v, jobs took %v", a.Counts, took)
	}
	f.Line("a", "1", second(110), []byte(completed)) // began in the replay, ends afterwards
	if a := f.Slots()[0]; a.Counts.JobsCompleted[Succeeded] != 1 || len(took) != 1 || took[0] != time.Minute {
		t.Errorf("a = %+v, jobs took %v", a, took)
	}
}

func TestFleetRestartKeepsCounters(t *testing.T) {
	f := NewFleet(nil)
	f.Started("a", "1", false)
	f.Line("a", "1", second(1), []byte(running))
	f.Ended("a", "1")
	if s := f.Slots()[0]; s.State.JobRunning || s.Counts.JobsStarted != 1 {
		t.Errorf("after the end: %+v", s)
	}
	f.Started("a", "1", false)
	f.Line("a", "1", second(2), []byte(running))
	if s := f.Slots()[0]; !s.State.JobRunning || s.Counts.JobsStarted != 2 {
		t.Errorf("after the restart: %+v", s)
	}
	f.Removed("a", "1")
	if n := len(f.Slots()); n != 0 {
		t.Errorf("%d slots after the removal", n)
	}
}

func TestFleetFollowsTheContainerThatStartedLast(t *testing.T) {
	f := NewFleet(nil)
	f.Started("a", "old", false)
	f.Started("a", "new", false)
	f.Line("a", "new", second(1), []byte(running))
	f.Line("a", "old", second(2), []byte(retry))
	f.Ended("a", "old")
	f.Removed("a", "old")
	if s := f.Slots(); len(s) != 1 || !s[0].State.JobRunning || s[0].State.Retrying || s[0].Counts.LogLines != 1 {
		t.Errorf("events of the old container were applied: %+v", s)
	}
}

func TestFleetIsSafeForConcurrentUse(t *testing.T) {
	f := NewFleet(nil)
	f.Started("0", "0", false)
	f.Started("1", "1", false)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			runner := strconv.Itoa(i % 2)
			for n := range 200 {
				f.Line(runner, runner, second(n), []byte(running))
				f.Line(runner, runner, second(n), []byte(completed))
				f.Slots()
			}
		})
	}
	wg.Wait()
	if n := f.Slots()[0].Counts.JobsStarted + f.Slots()[1].Counts.JobsStarted; n != 800 {
		t.Errorf("%d jobs", n)
	}
}
