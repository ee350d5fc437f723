package journal

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// mapDisk is a disk that is only read.
type mapDisk map[string]map[string][]byte

func (d mapDisk) put(t testing.TB, bucket, key string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if d[bucket] == nil {
		d[bucket] = map[string][]byte{}
	}
	d[bucket][key] = b
}

func (d mapDisk) Batch(func(DiskTx) error) error { panic("written") }
func (d mapDisk) Close() error                   { return nil }

func (d mapDisk) Each(bucket string, _ []byte, fn func(k, v []byte) (bool, error)) error {
	for k, v := range d[bucket] {
		if _, err := fn([]byte(k), v); err != nil {
			return err
		}
	}
	return nil
}

// TestClockSetBetweenProcesses is a wall clock that was set while no process ran: a back-off
// neither strands its runner nor ends too soon.
func TestClockSetBetweenProcesses(t *testing.T) {
	const length, passed = 10 * time.Minute, 4 * time.Minute
	for _, c := range []struct {
		name   string
		jump   time.Duration // of the wall clock
		reboot bool          // so that only the wall clock can tell
		old    bool          // written by a version without boot times
		want   time.Duration // left
	}{
		{"as it should be", 0, false, false, length - passed},
		{"forward by hours", 7 * time.Hour, false, false, length - passed},
		{"back by hours", -7 * time.Hour, false, false, length - passed},
		{"rebooted", 0, true, false, length - passed},
		{"rebooted, forward by hours", 7 * time.Hour, true, false, 0},
		{"rebooted, back by hours", -7 * time.Hour, true, false, length},
		{"no boot times", 0, false, true, length - passed},
		{"no boot times, back by hours", -7 * time.Hour, false, true, length},
	} {
		t.Run(c.name, func(t *testing.T) {
			then := Instant{time.Now(), BootTime{"a", time.Hour}}
			now := Instant{then.Time.Add(passed + c.jump), BootTime{"a", time.Hour + passed}}
			if c.reboot {
				now.Boot = BootTime{"b", time.Minute}
			}
			if c.old {
				then.Boot = BootTime{}
			}
			d := mapDisk{}
			d.put(t, bucketStarts, "ci-1", PendingStart{Instant: then, Phase: PhaseTerminated, Length: length})
			d.put(t, bucketBreakers, "ci-1", Breaker{Instant: then, State: Open, Length: length})
			d.put(t, bucketMeta, keyPaused, Pause{Instant: then, On: true, Length: length})
			d.put(t, bucketRecords, "12345678", Record{ID: 1, Began: then.Time, Ended: then.Time})
			s, err := load(d, now)
			if err != nil {
				t.Fatal(err)
			}
			_, pause := s.Pause.At(now)
			for what, left := range map[string]time.Duration{
				"start": now.Left(s.Starts["ci-1"].Instant, length), "breaker": now.Left(s.Breakers["ci-1"].Instant, length), "pause": pause,
			} {
				if left.Round(time.Second) != c.want {
					t.Errorf("%s: %s left, want %s", what, left, c.want)
				}
			}
			if phase := s.Starts["ci-1"].Phase; (phase == PhaseDown) != c.reboot {
				t.Errorf("rebooted %t, phase %s", c.reboot, phase)
			}
			if ago := now.Time.Sub(s.Records[1].At()); ago < 0 {
				t.Errorf("the last restart was %s ago", ago)
			}
			// A later step of the clock changes nothing any more.
			later := Instant{now.Time.Add(-5 * time.Hour), BootTime{now.Boot.Boot, now.Boot.Up + time.Minute}}
			if got := later.Left(s.Starts["ci-1"].Instant, length).Round(time.Second); got != max(c.want-time.Minute, 0) {
				t.Errorf("a minute and a step later: %s left", got)
			}
		})
	}
}

func TestSetBack(t *testing.T) {
	begin := Instant{time.Now(), BootTime{"a", time.Hour}}
	for name, tc := range map[string]struct {
		wall, up time.Duration
		boot     string
		want     time.Duration
	}{
		"nothing":         {2 * time.Second, 2 * time.Second, "a", 0},
		"a sleep":         {8 * time.Hour, 8 * time.Hour, "a", 0},
		"ahead":           {8*time.Hour + 2*time.Second, 2 * time.Second, "a", -8 * time.Hour},
		"back":            {-8*time.Hour + 2*time.Second, 2 * time.Second, "a", 8 * time.Hour},
		"another boot":    {-8 * time.Hour, time.Minute, "b", 0},
		"no other clocks": {-8 * time.Hour, 0, "", 0},
	} {
		before := begin
		if tc.boot == "" {
			before.Boot = BootTime{}
		}
		after := Instant{begin.Time.Round(0).Add(tc.wall), BootTime{tc.boot, time.Hour + tc.up}}
		if got := after.SetBack(before); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestInterrupted is a program that ended in the middle of what it does: a prune is not finished by
// the next process, a restart is.
func TestInterrupted(t *testing.T) {
	d := mapDisk{}
	d.put(t, bucketRecords, "1", Record{ID: 1, Action: "prune", Target: "engine", Outcome: Running})
	d.put(t, bucketRecords, "2", Record{ID: 2, Action: "restart", Target: "ci-1", Outcome: Running})
	d.put(t, bucketStarts, "ci-1", PendingStart{Target: "ci-1", Action: "restart", Record: 2})
	s, err := load(d, now())
	if err != nil {
		t.Fatal(err)
	}
	if s.Records[1].Outcome != Failed || s.Records[2].Outcome != Running {
		t.Errorf("%s, %s", s.Records[1].Outcome, s.Records[2].Outcome)
	}
}

// TestPauseOfOldVersion reads what older versions wrote, with a clock that has jumped since.
func TestPauseOfOldVersion(t *testing.T) {
	at := now()
	for name, c := range map[string]struct {
		until time.Time
		left  time.Duration
	}{
		"no jump":    {at.Time.Add(time.Hour), time.Hour},
		"back":       {at.Time.Add(100 * time.Hour), 2 * time.Hour},
		"forth":      {at.Time.Add(-100 * time.Hour), 0},
		"to its end": {at.Time, 0},
	} {
		d := mapDisk{}
		d.put(t, bucketMeta, keyPaused, map[string]any{"until": c.until, "length": 2 * time.Hour})
		s, err := load(d, at)
		if err != nil {
			t.Fatal(err)
		}
		if holds, left := s.Pause.At(at); holds != (c.left > 0) || left.Round(time.Second) != c.left {
			t.Errorf("%s: paused %t, %s are left, want %s", name, holds, left, c.left)
		}
	}
	for v, want := range map[string]bool{"1": true, "0": false} {
		s, err := load(mapDisk{bucketMeta: {keyPaused: []byte(v)}}, at)
		later := Instant{at.Time.Add(1e6 * time.Hour), BootTime{"boot", 1e6 * time.Hour}}
		if holds, _ := s.Pause.At(later); err != nil || holds != want {
			t.Errorf("%q: %t, %v", v, holds, err)
		}
	}
	if _, err := load(mapDisk{bucketMeta: {keyPaused: []byte("{")}}, at); err == nil {
		t.Error("garbage is a pause")
	}
}

// TestUpgrade opens a journal that an older version left behind, and loses nothing. The file has
// one record of each kind, written with the put and write of internal/remedy at commit f14d54c.
func TestUpgrade(t *testing.T) {
	in, err := os.Open("testdata/f14d54c.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	unpacked, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "journal.db")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, unpacked); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	s := opened(t, path)
	state := s.State()
	var got []string
	for _, r := range state.History() {
		got = append(got, strings.TrimSpace(r.Action+" "+r.Target+" "+string(r.Outcome)+" "+r.Reason))
	}
	want := []string{
		"restart ci-9 refused no_target", "prune engine failed not_enough", "backoff ci-3 completed", "restart ci-2 running",
		"backoff ci-1 completed", "restart ci-1 completed",
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("history:", diff)
	}
	items, err := s.Inbox(0, 10)
	if err != nil || len(items) != 2 || items[0].Alert.Name() != "Waiting" || state.Queue != 2 {
		t.Errorf("inbox %+v, %v; queue %d", items, err, state.Queue)
	}
	if d := cmp.Diff(map[string]uint64{"ci-1": 7, "ci-2": 1, "ci-3": 0}, state.Fires); d != "" {
		t.Error("fires:", d)
	}
	if b := state.Breakers["ci-1"]; b.State != HalfOpen || b.Length != 20*time.Minute || b.Openings != 2 || b.Ineffective {
		t.Errorf("breaker on probation: %+v", b)
	}
	if b := state.Breakers["ci-3"]; b.State != Open || b.Length != 10*time.Minute || !b.Ineffective {
		t.Errorf("open breaker: %+v", b)
	}
	if p := state.Starts["ci-2"]; p.Action != "restart" || p.ID != "id-ci-2" || p.Record == 0 || p.Length != 0 {
		t.Errorf("pending restart: %+v", p)
	}
	if p := state.Starts["ci-3"]; p.Action != "backoff" || p.Phase != PhaseDown || p.Length != 10*time.Minute {
		t.Errorf("pending back-off: %+v", p)
	}
	if len(state.ImageUse) != 1 || !state.Pause.On {
		t.Errorf("images %v, pause %+v", state.ImageUse, state.Pause)
	}
	update(t, s, func(tx *Tx) {
		if id := tx.PutRecord(Record{}).ID; id != 7 {
			t.Errorf("the next record is %d", id)
		}
	})
}

// FuzzLoad reads a journal whose records may be anything: a damaged one is an error, and what is
// read can be worked with.
func FuzzLoad(f *testing.F) {
	at := Instant{time.Now(), BootTime{"a", time.Hour}}
	for _, v := range []any{
		Record{V: 1, ID: 3, Outcome: Completed, Action: "restart", Target: "ci-1", Began: at.Time, Ended: at.Time},
		Record{V: 1, ID: 4, Outcome: Refused, Reason: "busy", Count: 3},
		PendingStart{Instant: at, V: 1, Target: "ci-1", Action: "backoff", Record: 3, Length: time.Minute},
		Breaker{Instant: at, State: HalfOpen, Length: time.Minute, Ineffective: true},
		Alert{Fingerprint: "f", Labels: map[string]string{"a": "b"}},
		Pause{Instant: at, On: true, Length: time.Hour},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		for i := range Buckets {
			f.Add(uint8(i), []byte("12345678"), b)
		}
		f.Add(uint8(0), []byte(keyPaused), b)
	}
	f.Add(uint8(7), []byte("image"), []byte("2026-01-01T00:00:00Z"))
	f.Add(uint8(6), []byte("ci-1"), []byte("12345678"))
	f.Add(uint8(2), []byte("1"), []byte(`{"v":2}`))
	f.Add(uint8(5), []byte("ci-1"), []byte(`{"state":"open","length":-9223372036854775808,"since":"9999-12-31T23:59:59Z"}`))
	f.Fuzz(func(t *testing.T, bucket uint8, key, value []byte) {
		name := Buckets[int(bucket)%len(Buckets)]
		s, err := load(mapDisk{name: {string(key): value}}, at)
		if err != nil {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("does not say where: %v", err)
			}
			return
		}
		// What people and rules are shown.
		s.History()
		s.LastDecisions()
		s.Pause.At(at)
		for _, p := range s.Starts {
			if left := at.Left(p.Instant, p.Length); left < 0 || left > p.Length {
				t.Errorf("due in %s of %s", left, p.Length)
			}
		}
		for _, b := range s.Breakers {
			if left := at.Left(b.Instant, b.Length); left < 0 || left > b.Length {
				t.Errorf("open for %s of %s", left, b.Length)
			}
		}
	})
}
