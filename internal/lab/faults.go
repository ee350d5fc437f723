package lab

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is a named switch of the simulated world.
type Fault struct {
	Name string `json:"name"`
	// Effect says what happens in the world while the fault is on.
	Effect string `json:"effect"`
	// Value describes the optional value; empty where the fault takes none.
	Value string `json:"value_means,omitempty"`
	// PerRunner is true where the fault can be limited to one slot. Without a slot it applies to
	// all.
	PerRunner bool `json:"per_runner"`

	check func(value string) error // nil: no value allowed
}

// The names of the faults.
const (
	faultRetryLoop           = "retry-loop"
	faultPollOutageV1        = "poll-outage-v1"
	faultPollOutageV2        = "poll-outage-v2"
	faultCreateOutage        = "create-outage"
	faultSessionConflict     = "session-conflict"
	faultRegistrationDeleted = "registration-deleted"
	faultClockSkew           = "clock-skew"
	faultVersionDeprecated   = "version-deprecated"
	faultGhostJob            = "ghost-job"
	faultDeaf                = "deaf"
	faultUpdate              = "update"
	faultRenewLost           = "renew-lost"
	faultListenerCrash       = "listener-crash"
	faultWorkerHang          = "worker-hang"
	faultIgnoreSigint        = "ignore-sigint"
	faultJIT409              = "jit-409"
	faultJIT422              = "jit-422"
	faultBusyLie             = "busy-lie"
	faultPATRejected         = "pat-rejected"
	faultPATLocked           = "pat-locked"
	faultPATNoPermission     = "pat-no-permission"
	faultPATExpiring         = "pat-expiring"
	faultRateLimited         = "rate-limited"
	faultGitHub500           = "github-500"
	faultGitHubGarbage       = "github-garbage"
	faultGitHubSlow          = "github-slow"
	faultGitHubDate          = "github-date"
	faultClockOffset         = "clock-offset"
	faultServiceHang         = "service-hang"
)

// Faults returns the table of all faults.
func Faults() []Fault {
	return []Fault{
		// A runner and its connection.
		{faultRetryLoop, "The connection under the poll of the listener that runs now dies and is never rebuilt: it prints the retry line once and sleeps between attempts that cannot succeed, and GitHub shows it offline. A new listener process works.",
			"empty: breaks one idle poll, now or as soon as there is one; busy: breaks one poll beside a running job; sticky: breaks the poll of every listener shortly after it listens, until switched off", true, oneOf("", "busy", "sticky")},
		{faultPollOutageV1, "The message queue of the older protocol fails: polls are retried after 15 to 60 s, and the first one that succeeds after the switch is off prints \"Runner reconnected.\" (ML:291-369).", "", true, nil},
		{faultPollOutageV2, "The broker fails: the first error prints the retry line, recovery prints nothing, and the tenth error in the life of the process ends it with exit code 2 (BML:278-385).", "", true, nil},
		{faultCreateOutage, "The broker refuses to create sessions: the listener retries every 30 s without limit, and prints \"Runner reconnected.\" when it succeeds (BML:109-236).", "", true, nil},
		{faultSessionConflict, "The service has another session of this runner: creating one answers 409 and is retried every 30 s; after the eighth attempt the listener exits with code 5 (BML:472-493).", "", true, nil},
		{faultRegistrationDeleted, "The service has no registration (or the clock is skewed, which today's service reports the same way): the token request answers invalid_client and the listener exits with code 1 at once (BML:191-206; issue 4648).", "", true, nil},
		{faultClockSkew, "The service refuses the runner's signature because the machine's clock is minutes off, and reports this as older servers do: retried every 30 s, and after 60 attempts the listener exits with code 1 (BML:494-515).", "", true, nil},
		{faultVersionDeprecated, "GitHub no longer serves this runner version: the poll answers 403 right after the session was created; exit 1, or 7 where the environment asks for it (P:142-170).",
			"empty: as above; old: a runner up to 2.332, which misspells the line and exits 1 in any case; session: the session itself is refused, exit 1 in any case", true, oneOf("", "old", "session")},
		{faultGhostJob, "A job is handed out that can no longer be acquired (409): the runner skips it and continues to listen, but the service counts it as used and hands it no other job (R:738-746; issue 4617).", "", true, nil},
		{faultDeaf, "The listener acknowledges a job and then does nothing: no output, no poll, no exit (issues 4668, 4703, 3501).",
			"empty: before it announces the job; job: right after", true, oneOf("", "job")},
		{faultUpdate, "GitHub requests a self-update although updates are off: an idle listener prints this and exits with code 3 (SelfUpdaterV2.cs:68-130).", "", true, nil},
		{faultRenewLost, "The lock on the running job cannot be renewed: the runner abandons the job but reports it as finished (issue 4635).", "", true, nil},
		{faultListenerCrash, "The listener dies right after it announced a job: it prints no completed line, and its worker continues as an orphan.",
			"exit code; empty or 137: it is killed (as by the OOM killer)", true, optional(integer(0, 255))},
		{faultWorkerHang, "The worker neither ends nor reacts to a cancellation: a listener that is stopped waits for it without limit; one whose job is canceled kills it five minutes later.", "", true, nil},
		{faultIgnoreSigint, "The listener does not react to SIGINT or SIGQUIT (an inherited SIG_IGN, or a hung process; issue 2582).", "", true, nil},
		// GitHub's view of the runners.
		{faultJIT409, "Every just-in-time registration is answered 409: the name is taken, for instance by a registration that has not been cleaned up yet.", "", true, nil},
		{faultJIT422, "Every just-in-time registration is answered 422: a label or the runner group is not accepted, or there are as many runners as there may be.", "", true, nil},
		{faultBusyLie, "The API says busy:false while a job runs (issue 4422: an autoscaler relied on it and killed 135 jobs); deletion still answers 422.", "", true, nil},
		// The credential.
		{faultPATRejected, "The token was revoked, has expired or was mistyped: every call answers 401 Bad credentials.", "", false, nil},
		{faultPATLocked, "Too many invalid tokens were tried: GitHub answers 403 to every token of this user for a while, the right one included.", "", false, nil},
		{faultPATNoPermission, "The token lacks the permission or its owner is no administrator: the runner endpoints answer 403.",
			"empty: a classic token; fine-grained: the wording and headers for a fine-grained one; read-only: a fine-grained one that may list and not change; hidden: 404, as for a repository that the token may not see", false, oneOf("", "fine-grained", "read-only", "hidden")},
		{faultPATExpiring, "The token expires soon, and GitHub says so in every answer; once it has expired every call answers 401.",
			"time from now until the expiry, such as 72h", false, duration(-87600*time.Hour, 87600*time.Hour)},
		// The API.
		{faultRateLimited, "The quota is used up or a secondary limit was reached: calls are refused.",
			"empty or 429: secondary limit, 429 with Retry-After 60; 403: primary limit, nothing remaining until the reset; either may carry the seconds to wait, as in 429:5", false, optional(rateLimit)},
		{faultGitHub500, "The API is down and answers with server errors.", "status, 500 to 599; empty: 500", false, optional(integer(500, 599))},
		{faultGitHubGarbage, "Something between here and GitHub answers 200 with a page that is not GitHub's JSON (a captive portal, a proxy).",
			"empty: an HTML page; truncated: JSON that ends in the middle", false, oneOf("", "truncated")},
		{faultGitHubSlow, "The API takes very long to answer.", "delay before each answer, at most 5m", false, duration(0, 5*time.Minute)},
		{faultGitHubDate, "The Date header of GitHub's answers is wrong.", "seconds that are added to the true time", false, seconds},
		// The machine.
		{faultClockOffset, "The machine's clock is wrong as measured against the lab's NTP server (which serves true time minus this value, so that no real clock is changed).",
			"seconds that the local clock is ahead; negative: behind", false, seconds},
		{faultServiceHang, "The database process that runs now stops answering, without exiting, until it is restarted.",
			"empty: the process that runs now; sticky: each new process too, until switched off", false, oneOf("", "sticky")},
	}
}

// FaultState is the state of one fault.
type FaultState struct {
	Name   string    `json:"name"`
	Runner string    `json:"runner,omitempty"` // slot; empty: all
	On     bool      `json:"on"`
	Value  string    `json:"value,omitempty"`
	Since  time.Time `json:"since,omitzero"` // when it was last turned on
	Seq    uint64    `json:"seq"`            // increases with each change of any fault
}

// maxSwitches bounds the number of faults and slots that are on.
const maxSwitches = 1000

var (
	errUnknownFault = errors.New("unknown fault")
	errBadFault     = errors.New("bad fault")
)

// switches holds the state of all faults. It is safe for concurrent use.
type switches struct {
	mu    sync.Mutex
	table map[string]Fault
	on    map[[2]string]FaultState // by name and slot
	seq   uint64
}

func newSwitches() *switches {
	s := &switches{table: map[string]Fault{}, on: map[[2]string]FaultState{}}
	for _, f := range Faults() {
		s.table[f.Name] = f
	}
	return s
}

// set turns a fault on or off. Off without a slot turns it off for all slots.
func (s *switches) set(name, runner string, on bool, value string, now time.Time) (FaultState, error) {
	f, ok := s.table[name]
	switch {
	case !ok:
		return FaultState{}, fmt.Errorf("%w %q: see \"fault list\"", errUnknownFault, name)
	case runner != "" && !f.PerRunner:
		return FaultState{}, fmt.Errorf("%w: %s applies to all and takes no runner", errBadFault, name)
	case len(runner) > 100 || len(value) > 100:
		return FaultState{}, fmt.Errorf("%w: runner and value may have 100 bytes", errBadFault)
	case value != "" && f.check == nil:
		return FaultState{}, fmt.Errorf("%w: %s takes no value", errBadFault, name)
	case on && f.check != nil:
		if err := f.check(value); err != nil {
			return FaultState{}, fmt.Errorf("%w: value of %s: %w", errBadFault, name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	key := [2]string{name, runner}
	if !on {
		for k := range s.on {
			if k[0] == name && (runner == "" || k[1] == runner) {
				delete(s.on, k)
			}
		}
		return FaultState{Name: name, Runner: runner, Seq: s.seq}, nil
	}
	if _, ok := s.on[key]; !ok && len(s.on) >= maxSwitches {
		return FaultState{}, fmt.Errorf("%w: %d switches are on already", errBadFault, maxSwitches)
	}
	st := FaultState{Name: name, Runner: runner, On: true, Value: value, Since: now, Seq: s.seq}
	s.on[key] = st
	return st, nil
}

// get returns the state of a fault for a registration or slot: that of the longest matching slot
// name, else that for all.
func (s *switches) get(name, runner string) (FaultState, error) {
	if _, ok := s.table[name]; !ok {
		return FaultState{}, fmt.Errorf("%w %q: see \"fault list\"", errUnknownFault, name)
	}
	st, _ := s.find(name, runner)
	return st, nil
}

func (s *switches) find(name, runner string) (FaultState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	best, found := FaultState{Name: name, Runner: runner, Seq: s.seq}, false
	for k, st := range s.on {
		if k[0] == name && belongs(runner, k[1]) && (!found || len(k[1]) >= len(best.Runner)) {
			best, found = st, true
		}
	}
	return best, found
}

// is reports whether a fault is on for a registration or slot name.
func (s *switches) is(name, runner string) bool {
	_, on := s.find(name, runner)
	return on
}

// value returns the value of a fault for a registration or slot name; empty if it is off.
func (s *switches) value(name, runner string) string {
	st, _ := s.find(name, runner)
	return st.Value
}

// active lists the faults that are on, by name and slot.
func (s *switches) active() []FaultState {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]FaultState, 0, len(s.on))
	for _, st := range s.on {
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b FaultState) int {
		return strings.Compare(a.Name+"\x00"+a.Runner, b.Name+"\x00"+b.Runner)
	})
	return list
}

// belongs reports whether a registration belongs to the slot: its name is the slot's, or starts
// with it and a dash.
func belongs(name, slot string) bool {
	return slot == "" || name == slot || strings.HasPrefix(name, slot+"-")
}

func oneOf(allowed ...string) func(string) error {
	return func(v string) error {
		if slices.Contains(allowed, v) {
			return nil
		}
		return fmt.Errorf("%q is none of %q", v, allowed)
	}
}

func optional(check func(string) error) func(string) error {
	return func(v string) error {
		if v == "" {
			return nil
		}
		return check(v)
	}
}

func integer(low, high int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%q is no whole number from %d to %d", v, low, high)
		}
		return nil
	}
}

func duration(low, high time.Duration) func(string) error {
	return func(v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d < low || d > high {
			return fmt.Errorf("%q is no duration from %s to %s", v, low, high)
		}
		return nil
	}
}

func seconds(v string) error {
	_, err := parseSeconds(v)
	return err
}

// parseSeconds reads a number of seconds, with fraction and sign, within ten years.
func parseSeconds(v string) (time.Duration, error) {
	const limit = 10 * 365 * 24 * 3600
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || f != f || f < -limit || f > limit {
		return 0, fmt.Errorf("%q is no number of seconds", v)
	}
	return time.Duration(f * float64(time.Second)), nil
}

func rateLimit(v string) error {
	_, _, err := parseRateLimit(v)
	return err
}

// parseRateLimit reads STATUS[:SECONDS].
func parseRateLimit(v string) (status int, wait time.Duration, err error) {
	if v == "" {
		return 429, time.Minute, nil
	}
	code, secs, ok := strings.Cut(v, ":")
	if code != "403" && code != "429" {
		return 0, 0, fmt.Errorf("%q does not begin with 403 or 429", v)
	}
	status, _ = strconv.Atoi(code)
	if !ok {
		return status, time.Minute, nil
	}
	n, err := strconv.Atoi(secs)
	if err != nil || n < 0 || n > 3600 {
		return 0, 0, fmt.Errorf("%q has no number of seconds from 0 to 3600 after the colon", v)
	}
	return status, time.Duration(n) * time.Second, nil
}
