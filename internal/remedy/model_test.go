package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The promises of this package against everything that can happen to it, in any order: alerts, resolved ones, jobs that
// begin and end, containers that do not obey, Docker and the disk failing, people pausing and resetting, the program being
// killed at any point, the machine being rebooted and its clock being set by hours. The world below knows what is never
// to happen:
//
//	never busy        no container is stopped or restarted while a job runs in it
//	never unlabelled  nothing is done to a container whose labels do not allow it
//	never twice       no action is done again within its cooldown, no container is taken down more often than was begun
//	never lost        every alert that was accepted is answered
//	never stranded    whatever was stopped runs in the end, a back-off is neither cut short nor endless, and no debt is left

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
	sent     []map[string]any      // to be sent again
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
	sure   bool // nobody died in that step, so that the time was not shifted
}

// modelSlot is a container of the world.
type modelSlot struct {
	Container

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
	both, one := runnerContainer("ci-1", ActionRestart, ActionBackoff), runnerContainer("ci-2", ActionRestart)
	db := Container{ID: "id-db", Name: "db", Role: RoleService, Heal: []string{ActionRestart}, State: "running", Health: "healthy"}
	for _, c := range []Container{both, one, runnerContainer("ci-3"), db, {ID: "id-other", Name: "other", State: "running"}} {
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
	r, err := New(Options{
		Logger: slog.New(slog.DiscardHandler), Docker: l, GitHub: g, JournalPath: "none", PollInterval: 2 * time.Second,
		HeartbeatTimeout: 1000 * time.Hour, Free: func(string) (uint64, error) { return 50e9, nil },
		Uptime:    func() Mark { return Mark{boot, time.Since(booted)} },
		open:      func(string, time.Duration) (store, error) { return &lifeStore{l}, nil },
		Failpoint: l.point,
	})
	if err != nil {
		m.Fatal(err)
	}
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

// crash ends the process and starts another, perhaps on a machine that was rebooted, and whose clock was set.
func (m *model) crash() {
	m.stats.crashes++
	l := m.life
	l.dead.Store(true)
	l.stop()
	m.say("killed")
	if m.rng.IntN(3) == 0 {
		<-time.After(time.Duration(m.rng.IntN(1200)) * time.Second) // nobody is there
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
	m.settle()
	m.life.stop()
}

// reboot ends every process of the machine. Docker starts again what ran, but for what somebody told to stop.
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
		m.say("reset: %v", m.life.r.Reset(m.Context(), "ci-1"))
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
		return m.life.r.Pause(m.Context(), 0)
	}
	return m.life.r.Resume(m.Context())
}

// alert sends a new one, often to who needs no help, and often wrong.
func (m *model) alert() {
	a := []struct{ name, action string }{
		{AlertRetryLoop, ActionRestart}, {"GhostrunnerRunnerOffline", ActionRestart}, {"GhostrunnerWatchdogStorm", ActionBackoff}, {"A", ActionRestart}, {"B", "reboot"},
	}[m.rng.IntN(5)]
	target := [][2]string{{labelRunner, "ci-1"}, {labelRunner, "ci-1"}, {labelRunner, "ci-2"}, {labelRunner, "ci-3"}, {labelContainer, "db"}, {labelContainer, "other"}, {labelRunner, "ci"}}[m.rng.IntN(7)]
	alert := alertOf(a.name, a.action, target[0], target[1])
	alert["fingerprint"] = fmt.Sprintf("f%d", len(m.sent))
	alert["startsAt"] = time.Now().UTC().Format(time.RFC3339Nano)
	m.sent = append(m.sent, alert)
	m.post(alert)
}

func (m *model) again() {
	if len(m.sent) > 0 {
		m.post(m.sent[m.rng.IntN(len(m.sent))])
	}
}

func (m *model) post(alert map[string]any) {
	w := post(m.life.r, payload(alert))
	accepted := w.Code == http.StatusAccepted
	m.say("alert %s %v: %d", alert["fingerprint"], alert["labels"], w.Code)
	if accepted {
		m.accepted[alert["fingerprint"].(string)] = true
		m.stats.accepted++
	} else if w.Code != http.StatusServiceUnavailable {
		m.Errorf("answered with %d %s", w.Code, w.Body)
	}
}

// resolved takes an alert back, and sends one that never was: nothing comes of it.
func (m *model) resolved() {
	alert := alertOf("R", ActionRestart, "runner", "ci-1")
	if len(m.sent) > 0 {
		alert = maps.Clone(m.sent[m.rng.IntN(len(m.sent))])
	}
	alert["status"] = "resolved"
	m.say("resolved %s: %d", alert["fingerprint"], post(m.life.r, payload(alert)).Code)
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
	case s.State == "running" && !s.leaving: // who was told to leave has no registration any more
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
	r := m.life.r
	r.mu.Lock()
	defer r.mu.Unlock()
	began := map[string]int{}
	for _, id := range slices.Sorted(maps.Keys(r.state.records)) {
		rec := r.state.records[id]
		began[rec.Target]++
		if _, known := m.begun[id]; known {
			continue
		}
		m.stats.done++
		// A process that died in this step wrote a time that the next one may read with another clock.
		b := modelBegin{at: rec.Began, jumped: m.jumped, sure: m.life == m.same}
		m.begun[id] = b
		key := lastKey(rec.Action, rec.Target)
		last, ok := m.lastSeen[key]
		if ok && b.sure && last.sure && b.jumped == last.jumped && b.at.Sub(last.at) < r.action(rec.Action).Cooldown {
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

// settle lets everything come to its end, and looks at what is left.
func (m *model) settle() {
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
		m.life.r.mu.Lock()
		defer m.life.r.mu.Unlock()
		if n := m.life.r.state.queue; n > 0 {
			return fmt.Sprintf("%d alerts are not decided", n)
		}
		for target := range m.life.r.state.debts {
			return "a debt is left: " + target
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
	for _, rec := range m.life.r.Attempts(maxRecords + maxRefusals) {
		answered[rec.Alert.Fingerprint] = true
		if rec.Outcome == OutcomeRefused {
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
		l.point(call) // and nobody hears the answer
		return err
	})
}

func (l *life) Containers(context.Context) ([]Container, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.dead.Load() {
		return nil, errDead
	}
	if l.m.down {
		return nil, errors.New("cannot connect to the Docker daemon")
	}
	var out []Container
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
		} else if !s.leaving && s.Role == RoleRunner && !l.m.calm && l.m.chance.IntN(20) == 0 {
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
			l.m.violated("%s was told to leave although a job runs that could be seen", s.Name)
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

// Start knows when a back-off may end: by the clock that nobody sets, as long as the machine was not rebooted.
func (l *life) Start(_ context.Context, id string) error {
	return l.act("start", id, func(s *modelSlot) error {
		if d, ok := l.m.disk.debt(s.Target()); ok && d.Action == ActionBackoff && d.Mark.Boot == l.m.boot && d.Length > 0 {
			if passed := time.Since(l.m.booted) - d.Mark.Up; passed < d.Length-time.Second {
				l.m.violated("%s was started after %s of a back-off of %s", s.Name, passed, d.Length)
			}
		}
		s.run()
		return nil
	})
}

func (l *life) Images(context.Context, string) ([]Image, error)       { return nil, nil }
func (l *life) RemoveImage(context.Context, string) error             { return nil }
func (l *life) Leftovers(context.Context, string) ([]Leftover, error) { return nil, nil }
func (l *life) RemoveContainer(context.Context, string) error         { return nil }
func (l *life) Root(context.Context) (string, error)                  { return "/", nil }

func (l *life) BuildCache(context.Context, time.Duration) (uint64, error)      { return 0, nil }
func (l *life) PruneBuildCache(context.Context, time.Duration) (uint64, error) { return 0, nil }

func (l *life) FollowImages(ctx context.Context, _ func(string)) error {
	<-ctx.Done()
	return nil
}

func (l *life) Known(string) ([]Registration, bool) {
	list, err := l.Ask(context.Background(), "")
	return list, err == nil
}

func (l *life) Ask(context.Context, string) ([]Registration, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.m.mute {
		return nil, errors.New("no answer")
	}
	var out []Registration
	for i, s := range l.m.slots {
		if s.Role == RoleRunner && s.State == "running" && !s.leaving {
			out = append(out, Registration{ID: int64(1 + i + 10*l.m.cycles[s.Runner]), Name: s.Runner + "-x", Status: "online", Busy: s.job})
		}
	}
	return out, nil
}

func (l *life) Deregister(context.Context, string, int64) error { return nil }

// memory is a disk that outlives the processes, can be full, and can be read with a clock that was set.
type memory struct {
	mu      sync.Mutex
	buckets map[string]map[string][]byte
	full    atomic.Bool
}

func newMemory() *memory {
	m := &memory{buckets: map[string]map[string][]byte{}}
	for _, b := range allBuckets {
		m.buckets[string(b)] = map[string][]byte{}
	}
	return m
}

// lifeStore is the disk as one process sees it.
type lifeStore struct{ l *life }

func (s *lifeStore) write(_ context.Context, writes ...write) error {
	m := s.l.m.disk
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case s.l.dead.Load():
		return errDead
	case m.full.Load():
		return fmt.Errorf("%w: no space left on device", errJournal)
	}
	for _, w := range writes {
		b := m.buckets[string(w.bucket)]
		if w.value == nil {
			delete(b, string(w.key))
		} else if _, ok := b[string(w.key)]; !ok || !w.first {
			b[string(w.key)] = w.value
		}
	}
	return nil
}

func (s *lifeStore) each(bucket, from []byte, fn func(k, v []byte) (bool, error)) error {
	m := s.l.m.disk
	m.mu.Lock()
	b := maps.Clone(m.buckets[string(bucket)])
	m.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(b)) {
		if k < string(from) {
			continue
		}
		if more, err := fn([]byte(k), b[k]); err != nil || !more {
			return err
		}
	}
	return nil
}

func (s *lifeStore) close() error { return nil }

// debt reads a debt as it is on disk.
func (m *memory) debt(target string) (d Debt, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.buckets[string(bucketDebts)][target]
	return d, ok && json.Unmarshal(v, &d) == nil
}

var written = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)

// shift moves every time that was written down, which is what a clock that was set the other way makes of it.
func (m *memory) shift(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.buckets {
		for k, v := range b {
			b[k] = written.ReplaceAllFunc(v, func(s []byte) []byte {
				t, err := time.Parse(time.RFC3339Nano, string(s))
				if err != nil || t.IsZero() {
					return s
				}
				return []byte(t.Add(by).Format(time.RFC3339Nano))
			})
		}
	}
}
