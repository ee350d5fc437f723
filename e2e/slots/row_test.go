package slots_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/lab"
)

// job is a request for a job of a slot; an empty slot: of any.
func job(name, slot string, d time.Duration) lab.JobRequest {
	return lab.JobRequest{Name: name, Runner: slot, Duration: d.String()}
}

func handedOut(id int64) func(lab.State) bool {
	return func(st lab.State) bool {
		j, where := find(st, id)
		return where != "queued" && where != "nowhere" && !j.Assigned.IsZero()
	}
}

// strike is a fault that was struck.
type strike struct {
	fault
	slot        string
	begin, over time.Time
	// back is from its end to the next listener of the slot, or to the next job if the old one lives on; job to the next job. They
	// differ where GitHub hands a job to a listener that has just died, and takes it back a minute later.
	back, job time.Duration
}

// excuses tells whether the fault may have ended a job.
func (s strike) excuses(j lab.Job) bool {
	return s.cuts && (s.slot == j.Slot || s.everybody) && !j.Assigned.After(s.over) && !j.Finished.Before(s.begin)
}

// TestJobsInARow runs jobs on both slots without a pause while one fault after another strikes, in an order that nobody has tried
// before. Each slot must be back within its time, by itself or by the remediator. In the end GitHub's books must balance: every job that
// it handed out was finished, and was cut only where a fault did that; no two sessions of a name; no registration; nothing of a job left.
func TestJobsInARow(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again in this order: -seed=%d -jobs=%d -scale=%g", *seed, *jobs, *scale)
	rng := rand.New(rand.NewPCG(*seed, 0))
	before := ids(state(t))

	plan := chosen(t)
	rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	for len(plan) < *jobs/4 {
		plan = append(plan, plan[rng.IntN(len(plan))])
	}
	var struck []strike
	queued := 0
	for i, f := range plan {
		for queued < *jobs*(i+1)/len(plan) {
			queued++
			enqueue(t, job(fmt.Sprintf("build (%d)", queued), "", time.Duration(rng.Int64N(int64(2*time.Second)))))
		}
		slot := slots[rng.IntN(len(slots))]
		s := play(t, f, slot)
		t.Logf("%-45s %s  back after %5.1f s (%4.0f s of the world), with a job after %5.1f s", f.name, slot, s.back.Seconds(), s.back.Seconds() / *scale, s.job.Seconds())
		struck = append(struck, s)
	}
	end := awaitState(t, "all jobs to be over", func(st lab.State) bool { return len(st.Queued) == 0 && len(st.Running) == 0 })

	handed := 0
	for _, j := range slices.Concat(end.Completed, end.Lost) {
		if before[j.ID] {
			continue
		}
		handed++
		if proof, ok := proofs[j.Name]; ok && !proof(j) {
			t.Errorf("job %d %q of %s ended as %q, assigned %s after it was queued: the fault did not strike", j.ID, j.Name, j.Slot, j.Result, j.Assigned.Sub(j.Enqueued))
		} else if !ok && strings.HasPrefix(j.Name, "for ") {
			t.Errorf("nothing proves that the fault of job %q has struck", j.Name)
		}
		excused := slices.ContainsFunc(struck, func(s strike) bool { return s.excuses(j) })
		if j.Result != "Succeeded" && j.Result != "" && !excused {
			t.Errorf("job %d %q of %s ended as %s, and no fault did that", j.ID, j.Name, j.Slot, j.Result)
		}
		if j.Result == "" && !strings.Contains(j.Name, "ghost-job") {
			t.Errorf("job %d %q of %s is lost", j.ID, j.Name, j.Slot)
		}
	}
	if handed < *jobs {
		t.Errorf("GitHub's books hold %d jobs, of %d at least", handed, *jobs)
	}
	if end.SessionConflicts > 0 {
		t.Errorf("%d times there were two sessions of one name", end.SessionConflicts)
	}
	t.Logf("%d jobs, %d faults; by result: %v, lost by GitHub: %d", handed, len(struck), end.CompletedTotal, len(end.Lost))

	// What a fault has left at GitHub goes when the lock on its job ends, or when it was seen offline twice.
	registrations(t, func(r lab.RegistrationState) bool { return r.Status == "online" })
	// Not in the middle of a restart: the kernel drops a signal to a process 1 that has not begun to run.
	for _, slot := range slots {
		awaitState(t, slot+" to listen", listens(slot))
	}
	if err := system.Compose(t.Context(), nil, "stop", "runner-1", "runner-2"); err != nil {
		t.Fatal(err)
	}
	registrations(t, func(lab.RegistrationState) bool { return false })
	if left := workLeft(t); left != "" {
		t.Errorf("work directories hold\n%s", left)
	}
	if _, err := system.Docker(t.Context(), "start", system.Container(slots[0]), system.Container(slots[1])); err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		awaitCompleted(t, enqueue(t, job("after it all", slot, 0)).ID)
	}
}

// play strikes a fault, ends it when its time is over, and waits until the slot takes a job again.
func play(t *testing.T, f fault, slot string) strike {
	t.Helper()
	victims := []string{slot}
	if f.everybody {
		victims = slots
	}
	var running []int64
	if f.busy {
		last := enqueue(t, job("beside "+f.name, slot, 3*time.Second+scaled(f.hold/2)))
		awaitRunning(t, last.ID)
		running = append(running, last.ID)
	} else { // not in between two listeners, where most faults find nothing to strike
		for _, slot := range victims {
			awaitState(t, slot+" to listen", listens(slot))
		}
	}
	s := strike{fault: f, slot: slot, begin: time.Now()}
	mend := f.strike(t, slot)
	hold := time.NewTimer(scaled(f.hold))
	select {
	case <-hold.C:
	case <-t.Context().Done():
	}
	if mend != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		if err := mend(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.over = time.Now()
	for _, slot := range victims {
		probe := enqueue(t, job("after "+f.name, slot, 0))
		// A busy machine may take as long as it wants for what is not scaled, but not for ever.
		limit := scaled(f.within) + f.steady - scaled(f.steady) + 45*time.Second
		var listens time.Time
		done, _ := find(awaitState(t, fmt.Sprintf("%s to take a job after %q", slot, f.name), func(st lab.State) bool {
			for _, r := range st.Registrations {
				if r.Slot == slot && r.Session != nil && !r.Session.Broken && r.Session.Created.After(s.over) && listens.IsZero() {
					listens = r.Session.Created
				}
			}
			j, _ := find(st, probe.ID)
			return !j.Acquired.IsZero() || time.Since(s.over) > limit+scaled(time.Minute)
		}), probe.ID)
		if done.Acquired.IsZero() {
			t.Fatalf("%s takes no job %s and a minute after %q was over", slot, limit, f.name)
		}
		if listens.IsZero() || listens.After(done.Acquired) {
			listens = done.Acquired
		}
		s.back, s.job = max(s.back, listens.Sub(s.over)), max(s.job, done.Acquired.Sub(s.over))
		if s.back > limit {
			t.Errorf("%s is back %s after %q was over, which is more than %s", slot, s.back, f.name, limit)
		}
	}
	for _, id := range running { // what it was struck beside, or the next fault would have its blame
		awaitState(t, "the job beside it to be over", func(st lab.State) bool { _, where := find(st, id); return where == "completed" })
	}
	return s
}

// listens holds while a listener of the slot waits for a job.
func listens(slot string) func(lab.State) bool {
	return func(st lab.State) bool {
		return slices.ContainsFunc(st.Registrations, func(r lab.RegistrationState) bool {
			return r.Slot == slot && r.Session != nil && r.Session.Polling && !r.Session.Broken && r.Job == 0
		})
	}
}

// ids are the jobs that GitHub has handed out so far.
func ids(st lab.State) map[int64]bool {
	all := map[int64]bool{}
	for _, j := range slices.Concat(st.Completed, st.Lost, st.Running) {
		all[j.ID] = true
	}
	return all
}

// registrations demands that GitHub soon has none but those that may be there.
func registrations(t *testing.T, may func(lab.RegistrationState) bool) {
	t.Helper()
	left := func(st lab.State) []lab.RegistrationState {
		return slices.DeleteFunc(slices.Clone(st.Registrations), may)
	}
	begin, limit := time.Now(), scaled(15*time.Minute)+30*time.Second
	st := awaitState(t, "registrations to go", func(st lab.State) bool {
		return len(left(st)) == 0 || time.Since(begin) > limit
	})
	for _, r := range left(st) {
		t.Errorf("registration %s of job %d is left, created %s, session %+v", r.Name, r.Job, r.Created, r.Session)
	}
}
