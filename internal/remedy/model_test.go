package remedy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// The promises of this package against everything that can happen to it, in any order: alerts,
// resolved ones, jobs that begin and end, containers that do not obey, Docker and the disk failing,
// people pausing and resetting, the program being killed at any point, the machine being rebooted
// and its clock being set by hours. The world below knows what is never to happen:
//
//	never busy        no container is stopped or restarted while a job runs in it
//	never unlabelled  nothing is done to a container whose labels do not allow it
//	never twice       no action is done again within its cooldown, no container is taken down more often than was begun
//	never lost        every alert that was accepted is answered
//	never stranded    each container that was stopped runs in the end, a back-off is neither cut short nor endless, and no pending start is left

var (
	modelRuns = flag.Int("model.runs", 10_000, "sequences of the model test; the race detector makes it a twentieth")
	modelSeed = flag.Uint64("model.seed", 0, "seed of the model test, as a failure prints it; 0: another each time")
)

func TestModel(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	runs := max(*modelRuns/slowdown, 1)
	t.Logf("%d sequences; -model.seed=%d", runs, seed)
	const parts = 4
	var stats [parts]modelStats
	t.Run("parts", func(t *testing.T) {
		for part := range parts {
			t.Run(strconv.Itoa(part), func(t *testing.T) {
				t.Parallel()
				for i := part; i < runs && !t.Failed(); i += parts {
					synctest.Test(t, func(t *testing.T) {
						m := newModel(t, rand.New(rand.NewPCG(seed, uint64(i))), &stats[part])
						m.run()
						if t.Failed() {
							t.Fatalf("sequence %d of -model.seed=%d:\n%s", i, seed, strings.Join(m.story, "\n"))
						}
					})
				}
			})
		}
	})
	var all modelStats
	for _, s := range stats {
		all.crashes += s.crashes
		all.jumps += s.jumps
		all.accepted += s.accepted
		all.done += s.done
		all.refused += s.refused
	}
	t.Logf("%+v", all)
	if runs >= 100 && (all.crashes < runs || all.jumps < runs/4 || all.done < runs || all.refused < runs) {
		t.Error("next to nothing happened: this proves nothing")
	}
}

type modelStats struct{ crashes, jumps, accepted, done, refused int }

// model is one sequence.
type model struct {
	*testing.T

	rng   *rand.Rand
	stats *modelStats
	disk  *memory
	story []string
	told  sync.Mutex // guards story, which is told with mu held and without

	mu     sync.Mutex
	chance *rand.Rand // of the world
	slots  []*modelSlot
	down   bool // Docker does not answer
	mute   bool // GitHub does not answer
	calm   bool // no more jobs begin
	boot   string
	booted time.Time
	life   *life // of the present process
	same   *life // when the present step began

	accepted map[string]bool       // fingerprints
	sent     []Notice              // to be sent again
	begun    map[uint64]modelBegin // actions, by record
	lastSeen map[string]modelBegin // by action and target
	jumped   int                   // how often the clock was set
	cycles   map[string]int        // how often a container was taken down
	resets   map[string]time.Time  // when a person ended a back-off
	bad      map[string]bool       // violations, each once
}

type modelBegin struct {
	at     time.Time
	jumped int
	sure   bool // no process died in that step, so that the time was not shifted
}

// modelSlot is a container of the world.
type modelSlot struct {
	runner.Container

	job, leaving, stubborn bool
	raced                  bool // the job began after we looked and before we told it to leave
	started                time.Time
}

// life is one process of the remediator. When it is over nothing that it still does has an effect.
type life struct {
	m      *model
	r      *Remediator
	dead   atomic.Bool
	points atomic.Int64 // failpoints until it dies; negative: it does not
	stop   func()
}

var errDead = errors.New("this process was killed")

func newModel(t *testing.T, rng *rand.Rand, stats *modelStats) *model {
	m := &model{
		T: t, rng: rng, chance: rand.New(rand.NewPCG(rng.Uint64(), 2)), stats: stats, disk: newMemory(), boot: "boot 1", booted: time.Now().Add(-time.Hour),
		accepted: map[string]bool{}, begun: map[uint64]modelBegin{}, lastSeen: map[string]modelBegin{}, cycles: map[string]int{},
		resets: map[string]time.Time{}, bad: map[string]bool{},
	}
	both, one := slot("ci-1", ActionRestart, ActionBackoff), slot("ci-2", ActionRestart)
	db := runner.Container{ID: "id-db", Name: "db", Role: runner.RoleService, Heal: []string{ActionRestart}, State: "running", Health: "healthy"}
	for _, c := range []runner.Container{both, one, slot("ci-3"), db, {ID: "id-other", Name: "other", State: "running"}} {
		m.slots = append(m.slots, &modelSlot{Container: c, started: m.booted})
	}
	return m
}

func (m *model) say(format string, args ...any) {
	m.told.Lock()
	defer m.told.Unlock()
	m.story = append(m.story, time.Since(m.booted).Round(time.Millisecond).String()+" "+fmt.Sprintf(format, args...))
}

// violated notes a broken promise. Under mu.
func (m *model) violated(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if m.bad[text] {
		return
	}
	m.bad[text] = true
	m.say("VIOLATED: %s", text)
	m.Errorf("violated: %s", text)
}

// begin starts a process.
func (m *model) begin() {
	l := &life{m: m}
	l.points.Store(-1)
	if m.rng.IntN(3) == 0 { // it will die at one of its points
		l.points.Store(int64(m.rng.IntN(16)))
	}
	boot, booted := m.boot, m.booted
	var g GitHub
	if m.rng.IntN(2) == 0 {
		g = l
	}
	r := New(Options{
		Logger: slog.New(slog.DiscardHandler), Docker: l, GitHub: g, JournalPath: "none", PollInterval: 2 * time.Second,
		HeartbeatTimeout: 1000 * time.Hour, Pruner: prune.Pruner{Measure: disk(50e9)},
		BootTime:  func() journal.BootTime { return journal.BootTime{Boot: boot, Up: time.Since(booted)} },
		OpenDisk:  func() (journal.Disk, error) { return &lifeDisk{m.disk, l.dead.Load}, nil },
		Failpoint: l.point,
	})
	l.r = r
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	l.stop = func() {
		cancel()
		<-ended
	}
	m.mu.Lock()
	m.life = l
	m.mu.Unlock()
	synctest.Wait()
}

// point is a failpoint: nothing that this process does after its death counts.
func (l *life) point(string) {
	if l.points.Load() >= 0 && l.points.Add(-1) < 0 {
		l.dead.Store(true)
	}
	if l.dead.Load() {
		l.points.Store(-1)
	}
}

// crash ends the process and starts another, perhaps on a machine that was rebooted, and whose
// clock was set.
func (m *model) crash() {
	m.stats.crashes++
	l := m.life
	l.dead.Store(true)
	l.stop()
	m.say("killed")
	if m.rng.IntN(3) == 0 {
		<-time.After(time.Duration(m.rng.IntN(1200)) * time.Second) // without an operator
	}
	if m.rng.IntN(4) == 0 {
		m.reboot()
	}
	if m.rng.IntN(3) == 0 {
		m.stats.jumps++
		m.jumped++
		jump := time.Duration(m.rng.IntN(24*60)-12*60) * time.Minute
		m.disk.shift(-jump)
		m.say("the clock was set by %s", jump)
	}
	m.begin()
}

func (m *model) run() {
	m.begin()
	for range 8 + m.rng.IntN(20) {
		m.same = m.life
		m.step()
		if m.life.dead.Load() {
			m.crash()
		}
		m.look()
	}
	m.finish()
	m.life.stop()
}

// reboot ends every process of the machine. Docker starts again what ran, but for what somebody
// told to stop.
func (m *model) reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.say("rebooted")
	m.boot += "'"
	m.booted = time.Now()
	for _, s := range m.slots {
		s.job, s.raced = false, false // with the machine, not by us
		switch {
		case s.State != "running":
		case s.leaving:
			m.take(s)
		default:
			s.run()
		}
	}
}

// step lets one thing happen.
func (m *model) step() {
	switch n := m.rng.IntN(100); {
	case n < 35:
		m.alert()
	case n < 40:
		m.again()
	case n < 43:
		m.resolved()
	case n < 58:
		m.job()
	case n < 62:
		m.mu.Lock()
		s := m.slots[m.rng.IntN(3)]
		s.stubborn = !s.stubborn
		m.say("%s is stubborn: %t", s.Name, s.stubborn)
		m.mu.Unlock()
	case n < 65:
		m.mu.Lock()
		m.down, m.mute = m.rng.IntN(2) == 0, m.rng.IntN(2) == 0
		m.say("Docker is down: %t, GitHub: %t", m.down, m.mute)
		m.mu.Unlock()
	case n < 68:
		full := m.rng.IntN(2) == 0
		m.disk.full.Store(full)
		m.say("the disk is full: %t", full)
	case n < 70:
		paused := m.rng.IntN(2) == 0
		m.say("paused: %t, %v", paused, m.pause(paused))
	case n < 73:
		m.mu.Lock()
		m.resets["ci-1"] = time.Now()
		m.mu.Unlock()
		m.say("reset: %v", m.life.r.Reset("ci-1"))
	case n < 80:
		m.crash()
	default:
		wait := time.Duration(m.rng.IntN(100)) * time.Second
		if m.rng.IntN(4) == 0 {
			wait *= 10
		}
		m.say("%s go by", wait)
		<-time.After(wait)
	}
	synctest.Wait()
}

func (m *model) pause(paused bool) error {
	if paused {
		return m.life.r.Pause(0)
	}
	return m.life.r.Resume()
}

// alert sends a new one, often to who needs no help, and often wrong.
func (m *model) alert() {
	a := []struct{ name, action string }{
		{retryLoop, ActionRestart}, {"GhostrunnerRunnerOffline", ActionRestart}, {storm, ActionBackoff}, {"A", ActionRestart}, {"B", "reboot"},
	}[m.rng.IntN(5)]
	target := [][2]string{{labelRunner, "ci-1"}, {labelRunner, "ci-1"}, {labelRunner, "ci-2"}, {labelRunner, "ci-3"}, {labelContainer, "db"}, {labelContainer, "other"}, {labelRunner, "ci"}}[m.rng.IntN(7)]
	alert := alertOf(a.name, a.action, target[0], target[1])
	alert.Fingerprint, alert.StartsAt = fmt.Sprintf("f%d", len(m.sent)), time.Now()
	m.sent = append(m.sent, alert)
	m.post(alert)
}

func (m *model) again() {
	if len(m.sent) > 0 {
		m.post(m.sent[m.rng.IntN(len(m.sent))])
	}
}

func (m *model) post(alert Notice) {
	err := report(m.life.r, alert)
	m.say("alert %s %v: %v", alert.Fingerprint, alert.Labels, err)
	if err == nil {
		m.accepted[alert.Fingerprint] = true
		m.stats.accepted++
	}
}

// resolved takes an alert back, and sends one that never was: nothing comes of it.
func (m *model) resolved() {
	alert := alertOf("R", ActionRestart, "runner", "ci-1")
	if len(m.sent) > 0 {
		alert = m.sent[m.rng.IntN(len(m.sent))]
	}
	alert.Resolved = true
	m.say("resolved %s: %v", alert.Fingerprint, report(m.life.r, alert))
}

// job begins or ends one.
func (m *model) job() {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slots[m.rng.IntN(3)]
	switch {
	case s.job && m.rng.IntN(3) > 0:
		s.raced = false // it goes on, and can be seen
	case s.job:
		m.endJob(s)
	case s.State == "running" && !s.leaving: // after SIGTERM there is no registration any more
		s.job = true
		m.say("a job begins on %s", s.Name)
	}
}

func (m *model) endJob(s *modelSlot) {
	s.job, s.raced = false, false
	m.say("the job on %s ends", s.Name)
	if s.leaving && !s.stubborn {
		m.take(s)
	}
}

// take is a container that goes down because of us. Under mu.
func (m *model) take(s *modelSlot) {
	s.State = "exited"
	m.cycles[s.Target()]++
	m.say("%s is down", s.Name)
}

// look compares what was begun with the cooldowns, and with what happened to the containers.
func (m *model) look() {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.life.r.store.State()
	began := map[string]int{}
	for _, id := range slices.Sorted(maps.Keys(state.Records)) {
		rec := state.Records[id]
		began[rec.Target]++
		if _, known := m.begun[id]; known {
			continue
		}
		m.stats.done++
		// A process that died in this step wrote a time that the next one may read with another
		// clock.
		b := modelBegin{at: rec.Began, jumped: m.jumped, sure: m.life == m.same}
		m.begun[id] = b
		key := rec.Action + "|" + rec.Target
		last, ok := m.lastSeen[key]
		action, _ := m.life.r.opts.action(rec.Action)
		if ok && b.sure && last.sure && b.jumped == last.jumped && b.at.Sub(last.at) < action.Cooldown {
			m.violated("%s of %s twice within %s", rec.Action, rec.Target, b.at.Sub(last.at))
		}
		m.lastSeen[key] = b
	}
	for target, n := range m.cycles {
		if n > began[target] {
			m.violated("%s was taken down %d times, and %d actions were begun", target, n, began[target])
		}
	}
}

// finish lets everything come to its end, and looks at what is left.
func (m *model) finish() {
	m.mu.Lock()
	m.down, m.mute, m.calm = false, false, true
	for _, s := range m.slots {
		if s.job {
			m.endJob(s)
		}
	}
	m.mu.Unlock()
	m.disk.full.Store(false)
	m.life.points.Store(-1)
	for m.life.dead.Load() { // the one that follows may die in its first steps too
		m.crash()
		m.life.points.Store(-1)
	}
	left := func() string {
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, s := range m.slots {
			if s.State != "running" {
				return s.Name + " is " + s.State
			}
		}
		state := m.life.r.store.State()
		if state.Queue > 0 {
			return fmt.Sprintf("%d alerts are not decided", state.Queue)
		}
		for target := range state.Starts {
			return "a pending start is left: " + target
		}
		return ""
	}
	m.say("everything calms down")
	for waited := time.Duration(0); left() != ""; waited += time.Minute {
		if waited > 75*time.Minute { // the longest back-off, and a verification
			m.Errorf("stranded: %s", left())
			return
		}
		<-time.After(time.Minute)
	}
	m.look()
	answered := map[string]bool{}
	for _, rec := range attempts(m.life.r, MaxHistory) {
		answered[rec.Alert.Fingerprint] = true
		if rec.Outcome == journal.Refused {
			m.stats.refused++
		}
	}
	for fingerprint := range m.accepted {
		if !answered[fingerprint] {
			m.Errorf("alert %s was accepted and never answered", fingerprint)
		}
	}
}

// What follows is Docker and GitHub as one process sees them.

func (l *life) world(id string, fn func(s *modelSlot) error) error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	switch {
	case l.dead.Load():
		return errDead
	case l.m.down:
		return errors.New("cannot connect to the Docker daemon")
	}
	i := slices.IndexFunc(l.m.slots, func(s *modelSlot) bool { return s.ID == id })
	if i < 0 {
		return errors.New("no such container")
	}
	return fn(l.m.slots[i])
}

// act is a call that changes something, and so is allowed by the label.
func (l *life) act(call, id string, fn func(s *modelSlot) error) error {
	return l.world(id, func(s *modelSlot) error {
		l.m.say("%s %s", call, s.Name)
		if len(s.Heal) == 0 {
			l.m.violated("%s of %s, which no label allows", call, s.Name)
		}
		err := fn(s)
		l.point(call) // and the answer is lost
		return err
	})
}

func (l *life) Containers(context.Context) ([]runner.Container, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.dead.Load() {
		return nil, errDead
	}
	if l.m.down {
		return nil, errors.New("cannot connect to the Docker daemon")
	}
	var out []runner.Container
	for _, s := range l.m.slots {
		c := s.Container
		if c.State == "running" {
			c.Up = time.Since(s.started) + time.Second // Docker rounds
		}
		out = append(out, c)
	}
	return out, nil
}

func (l *life) Processes(_ context.Context, id string) (list []string, err error) {
	err = l.world(id, func(s *modelSlot) error {
		if s.State != "running" {
			return errors.New("container is not running")
		}
		list = []string{"/ghostrunner-runner run"}
		if s.job {
			list = append(list, "/actions-runner/bin/Runner.Worker spawnclient 3 4")
		} else if !s.leaving && s.Role == runner.RoleRunner && !l.m.calm && l.m.chance.IntN(20) == 0 {
			s.job, s.raced = true, true
			l.m.say("a job begins on %s, the very instant after it was seen idle", s.Name)
		}
		return nil
	})
	return list, err
}

func (l *life) Terminate(_ context.Context, id string) error {
	return l.act("terminate", id, func(s *modelSlot) error {
		if s.State != "running" {
			return errors.New("container is not running")
		}
		if s.job && !s.raced {
			l.m.violated("%s was sent SIGTERM although a job runs that could be seen", s.Name)
		}
		s.leaving = true
		if !s.job && !s.stubborn {
			l.m.take(s)
		}
		return nil
	})
}

func (l *life) Stop(_ context.Context, id string, _ time.Duration) error {
	return l.act("stop", id, func(s *modelSlot) error {
		if s.job {
			l.m.violated("the job on %s was cut by a stop", s.Name)
		}
		if s.State == "running" {
			l.m.take(s)
		}
		return nil
	})
}

func (l *life) Restart(_ context.Context, id string, _ time.Duration) error {
	return l.act("restart", id, func(s *modelSlot) error {
		if s.job {
			l.m.violated("the job on %s was cut by a restart", s.Name)
		}
		if s.State == "running" {
			l.m.take(s)
		}
		s.run()
		return nil
	})
}

func (s *modelSlot) run() { s.State, s.leaving, s.started = "running", false, time.Now() }

// Start knows when a back-off may end: by the clock that cannot be set, as long as the machine was
// not rebooted.
func (l *life) Start(_ context.Context, id string) error {
	return l.act("start", id, func(s *modelSlot) error {
		if p, ok := l.m.disk.start(s.Target()); ok && p.Action == ActionBackoff && p.Boot.Boot == l.m.boot && p.Length > 0 {
			if passed := time.Since(l.m.booted) - p.Boot.Up; passed < p.Length-time.Second {
				l.m.violated("%s was started after %s of a back-off of %s", s.Name, passed, p.Length)
			}
		}
		s.run()
		return nil
	})
}

func (l *life) Images(context.Context, string) ([]runner.Image, error)       { return nil, nil }
func (l *life) RemoveImage(context.Context, string) error                    { return nil }
func (l *life) Leftovers(context.Context, string) ([]runner.Leftover, error) { return nil, nil }
func (l *life) RemoveContainer(context.Context, string) error                { return nil }
func (l *life) Root(context.Context) (string, error)                         { return "/", nil }

func (l *life) BuildCache(context.Context, time.Duration) (uint64, error)      { return 0, nil }
func (l *life) PruneBuildCache(context.Context, time.Duration) (uint64, error) { return 0, nil }

func (l *life) FollowImages(ctx context.Context, _ func(string)) error {
	<-ctx.Done()
	return nil
}

func (l *life) Known(string) ([]runner.Registration, bool) {
	list, err := l.Ask(context.Background(), "")
	return list, err == nil
}

func (l *life) Ask(context.Context, string) ([]runner.Registration, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.m.mute {
		return nil, errors.New("no answer")
	}
	var out []runner.Registration
	for i, s := range l.m.slots {
		if s.Role == runner.RoleRunner && s.State == "running" && !s.leaving {
			status := runner.StatusOnline
			if l.m.chance.IntN(4) > 0 { // so that rechecks find what they look for
				status = runner.StatusOffline
			}
			out = append(out, runner.Registration{ID: int64(1 + i + 10*l.m.cycles[s.Runner]), Name: s.Runner + "-x", Status: status, Busy: s.job})
		}
	}
	return out, nil
}
