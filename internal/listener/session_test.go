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

func TestContainerRestartResetsEverything(t *testing.T) {
	for name, do := range map[string]func(*Session){
		"started": func(s *Session) { s.Started(second(20)) },
		"ended":   func(s *Session) { s.Ended(second(20)) },
	} {
		t.Run(name, func(t *testing.T) {
			var s Session
			feed(&s, at{0, listening}, at{1, running}, at{5, retry})
			do(&s)
			if st := s.State(); st.Retrying || st.Listening || st.JobRunning || st.Job != "" || !st.RetryingSince.IsZero() || !st.JobStarted.IsZero() {
				t.Errorf("state survived: %+v", st)
			}
			feed(&s, at{25, retry})
			if st := s.State(); !st.RetryingSince.Equal(second(25)) {
				t.Errorf("RetryingSince = %v, want the clock of the new process", st.RetryingSince)
			}
		})
	}
}

func TestAttemptsAndOutagesAreCountedApart(t *testing.T) {
	var s Session
	feed(&s, at{0, listening}, at{5, "[RUNNER 2026-08-20 12:00:00Z ERR  Terminal] WRITE ERROR: " + retry}, at{5, retry},
		at{6, attempt}, at{36, attempt}, at{66, attempt}, at{90, "[WORKER 2026-08-20 12:00:00Z INFO X] " + retry}, at{91, ts + "novelty"})
	c := s.Counts()
	if c.RetryLoopMatches != 1 || c.RetryAttempts != 3 || c.LogLines != 8 || c.Unrecognised != 1 {
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
	// A job that never completes (crash, OOM kill) ends with its process, at the latest when the next one listens.
	feed(&s, at{30, running}, at{40, connected}, at{41, listening})
	if s.State().JobRunning {
		t.Error("a job survived its listener")
	}
	feed(&s, at{50, running}, at{60, ts + "Job build completed with result: Exploded"})
	c := s.Counts()
	if s.State().JobRunning || c.JobsStarted != 3 || c.JobsCompleted[Succeeded] != 1 || c.Unrecognised != 1 || len(c.JobsCompleted) != 6 {
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
	f := NewFleet(second(100))
	f.Started("b", second(0))
	f.Started("a", second(0))
	f.Line("a", second(1), []byte(listening))
	f.Line("a", second(50), []byte(running))
	f.Line("b", second(60), []byte(retry))
	slots := f.Slots()
	if len(slots) != 2 || slots[0].Runner != "a" || slots[1].Runner != "b" {
		t.Fatalf("slots = %+v", slots)
	}
	if !slots[0].State.JobRunning || !slots[1].State.Retrying || !slots[1].State.RetryingSince.Equal(second(60)) {
		t.Errorf("state was not restored: %+v", slots)
	}
	if c := slots[0].Counts; c.LogLines != 0 || c.JobsStarted != 0 {
		t.Errorf("replayed lines were counted: %+v", c)
	}
	f.Line("a", second(110), []byte(completed)) // began in the replay, ends while we watch
	a := f.Slots()[0]
	if a.Counts.JobsCompleted[Succeeded] != 1 || a.JobDurations.Count != 1 || a.JobDurations.Sum != 60 {
		t.Errorf("a = %+v", a)
	}
	if b := a.JobDurations.Buckets; b[30] != 0 || b[60] != 1 || b[21600] != 1 {
		t.Errorf("buckets = %v", b)
	}
	f.Forget("a")
	if len(f.Slots()) != 1 || f.JobDurations().Count != 1 {
		t.Error("forgetting a slot must remove it and keep the durations of its jobs")
	}
	f.Ended("b", second(120))
	if f.Slots()[0].State.Retrying {
		t.Error("an ended process still retries")
	}
}

func TestFleetIsBounded(t *testing.T) {
	f := NewFleet(time.Time{})
	for i := range MaxSlots + 10 {
		f.Line(strconv.Itoa(i), t0, []byte(listening))
	}
	if n := len(f.Slots()); n != MaxSlots {
		t.Errorf("%d slots", n)
	}
}

func TestFleetIsSafeForConcurrentUse(t *testing.T) {
	f := NewFleet(time.Time{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			runner := strconv.Itoa(i % 2)
			for n := range 200 {
				f.Line(runner, second(n), []byte(running))
				f.Line(runner, second(n), []byte(completed))
				f.Slots()
				f.JobDurations()
			}
		})
	}
	wg.Wait()
	if n := f.Slots()[0].Counts.JobsStarted + f.Slots()[1].Counts.JobsStarted; n != 800 {
		t.Errorf("%d jobs", n)
	}
}
