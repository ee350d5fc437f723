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

// injection is a fault that was injected.
type injection struct {
	fault
	slot        string
	begin, over time.Time
	// back is the time from the end of the fault to the next listener of the slot, or to the next
	// job if the listener survived; job is the time to the next job. They differ if GitHub hands a
	// job to a listener that has just died, and takes it back a minute later.
	back, job time.Duration
}

// excuses reports whether the fault may have interrupted a job.
func (s injection) excuses(j lab.Job) bool {
	return s.cuts && (s.slot == j.Slot || s.allSlots) && !j.Assigned.After(s.over) && !j.Finished.Before(s.begin)
}

// TestJobsInARow runs jobs on both slots without a pause while faults are injected in random order.
// Each slot must be back in time, on its own or by the remediator. At the end GitHub's records must
// be complete: every job that was handed out has finished, and was interrupted only by a fault; no
// registration had two sessions; no registration and no file of a job is left.
func TestJobsInARow(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat this order with -seed=%d -jobs=%d -scale=%g", *seed, *jobs, *scale)
	rng := rand.New(rand.NewPCG(*seed, 0))
	before := ids(state(t))

	plan := chosen(t)
	rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	for len(plan) < *jobs/4 {
		plan = append(plan, plan[rng.IntN(len(plan))])
	}
	var injected []injection
	queued := 0
	for i, f := range plan {
		for queued < *jobs*(i+1)/len(plan) {
			queued++
			enqueue(t, job(fmt.Sprintf("build (%d)", queued), "", time.Duration(rng.Int64N(int64(2*time.Second)))))
		}
		slot := slots[rng.IntN(len(slots))]
		s := runFault(t, f, slot)
		t.Logf("%-45s %s  back after %5.1f s (%4.0f s unscaled), with a job after %5.1f s", f.name, slot, s.back.Seconds(), s.back.Seconds() / *scale, s.job.Seconds())
		injected = append(injected, s)
	}
	end := awaitState(t, "all jobs to be over", func(st lab.State) bool { return len(st.Queued) == 0 && len(st.Running) == 0 })

	handed := 0
	for _, j := range slices.Concat(end.Completed, end.Lost) {
		if before[j.ID] {
			continue
		}
		handed++
		if proof, ok := proofs[j.Name]; ok && !proof(j) {
			t.Errorf("job %d %q of %s ended as %q, assigned %s after it was queued: the fault had no effect", j.ID, j.Name, j.Slot, j.Result, j.Assigned.Sub(j.Enqueued))
		} else if !ok && strings.HasPrefix(j.Name, "for ") {
			t.Errorf("no proof that the fault of job %q had an effect", j.Name)
		}
		excused := slices.ContainsFunc(injected, func(s injection) bool { return s.excuses(j) })
		if j.Result != "Succeeded" && j.Result != "" && !excused {
			t.Errorf("job %d %q of %s ended as %s, and no fault explains that", j.ID, j.Name, j.Slot, j.Result)
		}
		if j.Result == "" && !strings.Contains(j.Name, "ghost-job") {
			t.Errorf("job %d %q of %s is lost", j.ID, j.Name, j.Slot)
		}
	}
	if handed < *jobs {
		t.Errorf("GitHub has handed out %d jobs, want at least %d", handed, *jobs)
	}
	if end.SessionConflicts > 0 {
		t.Errorf("%d times a registration had two sessions", end.SessionConflicts)
	}
	t.Logf("%d jobs, %d faults; by result: %v, lost by GitHub: %d", handed, len(injected), end.CompletedTotal, len(end.Lost))

	// What a fault left at GitHub is removed when the lock on its job expires, or when it was seen
	// offline twice.
	registrations(t, func(r lab.RegistrationState) bool { return r.Status == "online" })
	// Not during a restart: the kernel drops signals to a process 1 that has not installed a
	// handler.
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
		awaitCompleted(t, enqueue(t, job("after all faults", slot, 0)).ID)
	}
}

// runFault injects a fault, removes it when its time is over, and waits until the slot takes a job
// again.
func runFault(t *testing.T, f fault, slot string) injection {
	t.Helper()
	affected := []string{slot}
	if f.allSlots {
		affected = slots
	}
	var running []int64
	if f.busy {
		last := enqueue(t, job("beside "+f.name, slot, 3*time.Second+scaled(f.hold/2)))
		awaitRunning(t, last.ID)
		running = append(running, last.ID)
	} else { // between two listeners most faults would have no effect
		for _, slot := range affected {
			awaitState(t, slot+" to listen", listens(slot))
		}
	}
	s := injection{fault: f, slot: slot, begin: time.Now()}
	remove := f.inject(t, slot)
	hold := time.NewTimer(scaled(f.hold))
	select {
	case <-hold.C:
	case <-t.Context().Done():
	}
	if remove != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		if err := remove(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.over = time.Now()
	for _, slot := range affected {
		probe := enqueue(t, job("after "+f.name, slot, 0))
		// Extra time for delays that are not scaled.
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
			t.Fatalf("%s took no job within %s and a minute after %q", slot, limit, f.name)
		}
		if listens.IsZero() || listens.After(done.Acquired) {
			listens = done.Acquired
		}
		s.back, s.job = max(s.back, listens.Sub(s.over)), max(s.job, done.Acquired.Sub(s.over))
		if s.back > limit {
			t.Errorf("%s is back %s after %q was over, which is more than %s", slot, s.back, f.name, limit)
		}
	}
	for _, id := range running { // so that the next fault is not blamed for it
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

// ids are the jobs that GitHub has handed out.
func ids(st lab.State) map[int64]bool {
	all := map[int64]bool{}
	for _, j := range slices.Concat(st.Completed, st.Lost, st.Running) {
		all[j.ID] = true
	}
	return all
}

// registrations waits until GitHub has only the registrations that are allowed.
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
