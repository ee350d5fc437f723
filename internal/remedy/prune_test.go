package remedy

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
)

// pruneWorld is a disk with images on it: what is removed becomes free, at once or late.
func pruneWorld(hours func(float64) time.Time) *fakeDocker {
	d := newFake(slot("ci-1"))
	d.list[0].Image = "ours:1"
	d.images = []prune.Image{
		{ID: "young", Tags: []string{"young:1"}, Created: hours(1), Size: 1e9},
		{ID: "pulled", Tags: []string{"pulled:1"}, Created: hours(1000), Used: hours(2), Size: 1e9}, // made long ago, here since two hours
		{ID: "newer", Tags: []string{"newer:1"}, Created: hours(47), Size: 1e9},
		{ID: "stuck", Tags: []string{"stuck:1"}, Created: hours(49), Size: 1e9},
		{ID: "older", Tags: []string{"older:1"}, Created: hours(48), Size: 1e9},
		{ID: "used", Tags: []string{"used:1"}, Created: hours(48), InUse: true},
		{ID: "ours", Tags: []string{"ours:1"}, Created: hours(480)}, // rebuilt: the container still has the last one
		{ID: "kept", Tags: []string{"a:1", "registry/base:3"}, Created: hours(480)},
		{ID: "dangling", Created: hours(1.5), Dangling: true, Size: 1e9},
		{ID: "dangling-young", Created: hours(0.5), Dangling: true, Size: 1e9},
		{ID: "dangling-used", Created: hours(48), Dangling: true, InUse: true},
	}
	d.leftovers = []prune.Leftover{{ID: "left", Name: "left", Size: 1e9, Created: hours(3)}, {ID: "left-young", Name: "left-young", Size: 1e9, Created: hours(.2)}}
	d.cache = 1e9
	return d
}

func TestPrune(t *testing.T) {
	for _, c := range []struct {
		name  string
		label string
		free  float64 // in GB; 12 are wanted
		late  time.Duration
		job   int // removals after which a job begins
		used  string
		want  string
		calls []string
	}{
		{name: "all of it, in order", free: 3.5, job: 99, want: "prune engine failed not_enough",
			calls: []string{"prune cache", "image dangling", "image dangling-young", "image older", "image newer"}},
		{name: "confined to a label", label: "a=b", free: 3.5, job: 99, want: "prune engine failed not_enough",
			calls: []string{"image dangling", "image dangling-young", "container left", "container left-young", "image older", "image newer"}},
		{name: "ends when enough is free", free: 9.5, job: 99, want: "prune engine completed",
			calls: []string{"prune cache", "image dangling", "image dangling-young"}},
		{name: "ends when enough is free, shown late", free: 9.5, late: 4 * time.Second, job: 99, want: "prune engine completed",
			calls: []string{"prune cache", "image dangling", "image dangling-young"}},
		{name: "what is used last goes last", free: 3.5, job: 99, used: "older", want: "prune engine failed not_enough",
			calls: []string{"prune cache", "image dangling", "image dangling-young", "image newer"}},
		{name: "ends when a job begins", free: 9, job: 2, want: "prune engine completed", calls: []string{"prune cache", "image dangling"}},
		{name: "ends when a job begins, short of the threshold", free: 4, job: 2, want: "prune engine failed busy", calls: []string{"prune cache", "image dangling"}},
		{name: "below the floor, while a job runs: nothing young, until the floor is left", free: 0.5, job: 0, want: "prune engine failed busy",
			calls: []string{"prune cache unused for 1h0m0s", "image dangling"}},
		{name: "below the floor, confined to a label", free: 0.5, label: "a=b", job: 0, want: "prune engine failed busy",
			calls: []string{"image dangling", "container left"}},
		{name: "below the floor, and a job begins", free: 0.1, job: 1, want: "prune engine failed busy",
			calls: []string{"prune cache", "image dangling", "image older"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := pruneWorld(func(h float64) time.Time { return time.Now().Add(-time.Duration(h * float64(time.Hour))) })
				d.process = func(context.Context, string) ([]string, error) {
					if len(d.done()) >= c.job {
						return []string{"/actions-runner/bin/Runner.Worker spawnclient 3 4"}, nil
					}
					return []string{"/ghostrunner-runner run"}, nil
				}
				removed, at := 0, time.Now()
				r, _, _ := start(t, d, func(o *Options) {
					o.Pruner.Label, o.Pruner.Keep = c.label, regexp.MustCompile(`^registry/`)
					o.Pruner.Measure = func(string) (uint64, uint64, error) {
						if n := len(d.done()); n > removed && at.IsZero() {
							at = time.Now()
						} else if n > removed && time.Since(at) >= c.late {
							removed = n
						}
						if removed == len(d.done()) {
							at = time.Time{}
						}
						return uint64((c.free + float64(removed)) * 1e9), 100e9, nil
					}
				})
				ready(t, r)
				if c.used != "" {
					d.uses <- c.used
				}
				send(t, r, alertOf(diskLow, ActionPrune))
				elapse(5 * time.Minute)
				var calls []string
				for _, call := range d.done() {
					calls = append(calls, strings.TrimPrefix(call, "remove "))
				}
				if diff := cmp.Diff(c.calls, calls); diff != "" {
					t.Error("calls:", diff)
				}
				if diff := cmp.Diff([]string{c.want}, outcomes(r)); diff != "" {
					t.Error("history:", diff)
				}
				images := 1e9 * float64(strings.Count(strings.Join(calls, " "), "image "))
				if got := testutil.ToFloat64(r.metrics.reclaimed.WithLabelValues("images")); got != images {
					t.Errorf("reclaimed %v bytes of images, want %v", got, images)
				}
				if t.Failed() {
					t.Log(strings.Join(attempts(r, 1)[0].Evidence, "\n"))
				}
			})
		})
	}
}

// TestPruneShownByTheFileSystem is a disk that shows less than Docker counts: the evidence says so.
func TestPruneShownByTheFileSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pruneWorld(func(float64) time.Time { return time.Now().Add(-48 * time.Hour) })
		d.images = d.images[2:3]
		r, _, _ := start(t, d, func(o *Options) {
			o.Pruner.Measure = func(string) (uint64, uint64, error) { return 5e9 + 1e8*uint64(len(d.done())), 100e9, nil }
		})
		ready(t, r)
		send(t, r, alertOf(diskLow, ActionPrune))
		elapse(time.Minute)
		evidence := attempts(r, 1)[0].Evidence
		for _, want := range []string{
			"removed build_cache of all builds, 1000000000 bytes",
			"5000000000 bytes were free, 12000000000 are wanted; Docker counts 2000000000 removed, the file system shows 5200000000 free",
		} {
			if !slices.Contains(evidence, want) {
				t.Errorf("the evidence lacks %q:\n%s", want, strings.Join(evidence, "\n"))
			}
		}
	})
}

// TestPrunesDoNotOverlap asks for one while another goes on.
func TestPrunesDoNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pruneWorld(func(float64) time.Time { return time.Now().Add(-48 * time.Hour) })
		slow := &slowCache{fakeDocker: d}
		r, _, _ := start(t, slow, func(o *Options) { o.PruneCooldown = time.Second })
		ready(t, r)
		for i := range 20 {
			send(t, r, alertOf(diskLow, ActionPrune, "n", string(rune('a'+i))))
			elapse(20 * time.Second)
		}
		elapse(5 * time.Minute)
		if slow.most != 1 || slow.n != 0 || slow.all < 3 {
			t.Errorf("of %d prunes %d at the same time, want some and 1; %d go on", slow.all, slow.most, slow.n)
		}
	})
}

// slowCache is an engine whose build cache takes a while to remove.
type slowCache struct {
	*fakeDocker

	n, most, all int
}

func (s *slowCache) PruneBuildCache(context.Context, time.Duration) (uint64, error) {
	s.mu.Lock()
	s.n++
	s.all++
	s.most = max(s.most, s.n)
	s.mu.Unlock()
	time.Sleep(50 * time.Second) // of the bubble
	s.mu.Lock()
	s.n--
	s.mu.Unlock()
	return 0, nil
}

// TestPruneDryRun lists what would go, with sizes, and touches nothing.
func TestPruneDryRun(t *testing.T) {
	for _, c := range []struct {
		name string
		free float64
		busy bool
		want []string
		sum  string
	}{
		{"until enough is free", 9.5, false, []string{
			"would remove build_cache of all builds, 1000000000 bytes", "would remove images dangling, 1000000000 bytes",
			"would remove images dangling-young, 1000000000 bytes",
		}, "3 objects, 3000000000 bytes"},
		{"all of it", 1, false, []string{
			"would remove build_cache of all builds, 1000000000 bytes", "would remove images dangling, 1000000000 bytes",
			"would remove images dangling-young, 1000000000 bytes", "would remove images stuck:1, 1000000000 bytes",
			"would remove images older:1, 1000000000 bytes", "would remove images newer:1, 1000000000 bytes",
		}, "6 objects, 6000000000 bytes"},
		{"below the floor, while a job runs", .1, true, []string{
			"would remove build_cache of all builds, 1000000000 bytes", "would remove images dangling, 1000000000 bytes",
			"would remove images stuck:1, 1000000000 bytes",
		}, "3 objects, 3000000000 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := pruneWorld(func(h float64) time.Time { return time.Now().Add(-time.Duration(h * float64(time.Hour))) })
				d.busy("id-ci-1", c.busy)
				r, _, _ := start(t, d, func(o *Options) {
					o.DryRun = true
					o.Pruner = prune.Pruner{Measure: disk(uint64(c.free * 1e9)), Keep: regexp.MustCompile(`^registry/`)}
				})
				ready(t, r)
				send(t, r, alertOf(diskLow, ActionPrune))
				elapse(time.Second)
				rec := attempts(r, 1)[0]
				if diff := cmp.Diff(c.want, rec.Evidence); diff != "" || rec.Reason != DryRun || !strings.HasSuffix(rec.Detail, c.sum) {
					t.Errorf("%s: %s\n%s", rec.Reason, rec.Detail, diff)
				}
				if got := d.done(); len(got) > 0 {
					t.Errorf("did %v", got)
				}
			})
		})
	}
}

// maxImages is how many the journal remembers.
const maxImages = 2000

// TestImageUseIsRemembered is about images that no container is made from at the moment of a prune:
// their last use is on disk, and bounded.
func TestImageUseIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir() + "/journal.db"
		d := newFake(slot("ci-1"))
		r, _, stop := start(t, d, func(o *Options) { o.JournalPath = path })
		ready(t, r)
		for range 3 {
			d.uses <- "first"
		}
		for i := range maxImages {
			elapse(time.Millisecond)
			d.uses <- "image-" + time.Duration(i).String()
		}
		used := time.Now()
		elapse(time.Second)
		stop()
		elapse(time.Hour)
		r, _, _ = start(t, d, func(o *Options) { o.JournalPath = path })
		ready(t, r)
		if got := r.store.State().ImageUse["image-1.999µs"]; used.Sub(got).Abs() > time.Millisecond {
			t.Errorf("last used %s, want %s", got, used)
		}
		if n := len(r.store.State().ImageUse); n != maxImages || !r.store.State().ImageUse["first"].IsZero() {
			t.Errorf("%d images are remembered, want %d, and the oldest forgotten", n, maxImages)
		}
	})
}

// TestImageUseAfterTheClockWasSetBack: what was used "later" than now is forgotten when there is
// too much, and a use that is seen counts as of now.
func TestImageUseAfterTheClockWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(slot("ci-1"))
		r, _, _ := start(t, d, nil)
		ready(t, r)
		change(t, r, func(t *journal.Tx) {
			for i := range maxImages {
				t.UseImage("later-"+time.Duration(i).String(), time.Now().Add(time.Hour+time.Duration(i)))
			}
		})
		for range 2 {
			d.uses <- "new"
			d.uses <- "later-5ns"
		}
		synctest.Wait()
		for _, image := range []string{"new", "later-5ns"} {
			if got := r.store.State().ImageUse[image]; time.Since(got) > time.Second {
				t.Errorf("%s was last used %s, want now", image, got)
			}
		}
		if n := len(r.store.State().ImageUse); n != maxImages || !r.store.State().ImageUse["later-0s"].IsZero() {
			t.Errorf("%d images are remembered, want %d, and the oldest forgotten", n, maxImages)
		}
	})
}
