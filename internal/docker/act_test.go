package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

func TestActions(t *testing.T) {
	w := newWorld(t)
	e := w.engine("")
	ctx := t.Context()
	id := w.run(spec{args: []string{"worker"}})

	procs, err := e.Processes(ctx, id)
	worker := func(p string) bool { return strings.HasPrefix(p, "Runner.Worker") } // before its exec a child has its parent's command line
	for begin := time.Now(); err == nil && !slices.ContainsFunc(procs, worker) && time.Since(begin) < patience; {
		procs, err = e.Processes(ctx, id)
	}
	w.do("processes", err)
	if len(procs) != 2 || procs[0] != "/actor worker" || procs[1] != "Runner.Worker spawnclient 97 100" {
		t.Errorf("processes: %q", procs)
	}
	w.do("stop", e.Stop(ctx, id, time.Second))
	w.do("stop again", e.Stop(ctx, id, time.Second))
	if w.state(id).Running {
		t.Error("runs after Stop")
	}
	for name, err := range map[string]error{"terminate": e.Terminate(ctx, id), "top": second(e.Processes(ctx, id))} {
		if !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s of a stopped container: %v, want ErrNotRunning", name, err)
		}
	}
	w.do("start", e.Start(ctx, id))
	w.do("start again", e.Start(ctx, id))
	before := w.state(id).StartedAt
	w.do("restart", e.Restart(ctx, id, time.Second))
	if s := w.state(id); !s.Running || s.StartedAt == before {
		t.Errorf("not restarted: %+v", s)
	}
	if err := e.RemoveContainer(ctx, id); !errors.Is(err, ErrNotOurs) {
		t.Errorf("remove a runner: %v, want ErrNotOurs", err)
	}
	w.remove(id)
	for name, err := range map[string]error{
		"stop": e.Stop(ctx, id, time.Second), "restart": e.Restart(ctx, id, time.Second), "start": e.Start(ctx, id),
		"terminate": e.Terminate(ctx, id), "remove": e.RemoveContainer(ctx, id), "top": second(e.Processes(ctx, id)),
		"by name": e.Stop(ctx, "some-name", time.Second), "by prefix": e.Stop(ctx, id[:12], time.Second), "empty": e.Start(ctx, ""),
	} {
		if !errors.Is(err, ErrNoContainer) {
			t.Errorf("%s: %v, want ErrNoContainer", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Terminate asks and does not wait; Stop waits, and kills after its timeout.
func TestStubborn(t *testing.T) {
	w := newWorld(t)
	e := w.engine("")
	id := w.stubborn(0)
	w.do("terminate", e.Terminate(t.Context(), id))
	if !w.state(id).Running {
		t.Error("Terminate killed")
	}
	begin := time.Now()
	w.do("stop", e.Stop(t.Context(), id, 1100*time.Millisecond)) // 2 s
	if took := time.Since(begin); took < 1900*time.Millisecond {
		t.Errorf("stopped after %s, before its timeout", took)
	}
	if s := w.state(id); s.Running || s.ExitCode != 137 {
		t.Errorf("after Stop: %+v", s)
	}
	for name, err := range map[string]error{
		"stop in no time": e.Stop(t.Context(), id, 0), "stop before now": e.Stop(t.Context(), id, -time.Second),
		"restart in no time": e.Restart(t.Context(), id, 0),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A restart with the container's own grace kills neither sooner nor later than the container asks
// for.
func TestRestartInOwnGrace(t *testing.T) {
	w := newWorld(t)
	id := w.stubborn(3)
	// The engine's own times of the two signals: a start afterwards may take long on a busy
	// machine.
	told, errs := w.cli.Events(t.Context(), events.ListOptions{Filters: filters.NewArgs(filters.Arg("container", id), filters.Arg("event", "kill"))})
	w.do("restart", w.engine("").Restart(t.Context(), id, -1))
	at := map[string]time.Time{}
	for len(at) < 2 {
		select {
		case m := <-told:
			at[m.Actor.Attributes["signal"]] = time.Unix(0, m.TimeNano)
		case err := <-errs:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatalf("the engine told of these signals: %v; want 15 and 9", at)
		}
	}
	if grace := at["9"].Sub(at["15"]); grace < 2900*time.Millisecond || grace > 9*time.Second {
		t.Errorf("killed after %s, want its own 3 s", grace)
	}
	if !w.state(id).Running {
		t.Error("does not run after the restart")
	}
}

func TestLeftovers(t *testing.T) {
	w := newWorld(t)
	e := w.engine("")
	ctx := t.Context()
	scratch := []string{"scratch=1"}
	created := w.create(spec{bare: true, labels: scratch})
	exited := w.run(spec{bare: true, labels: scratch, args: []string{"count", "10"}})
	w.spoken(exited)
	running := w.run(spec{bare: true, labels: scratch})
	w.run(spec{labels: scratch, args: []string{"exit", "0"}}) // has a role
	w.create(spec{bare: true})                                // lacks the label
	w.do("stop", e.Stop(ctx, exited, time.Second))

	left, err := e.Leftovers(ctx, "scratch=1")
	w.do("leftovers", err)
	size := map[string]int64{}
	for _, l := range left {
		size[l.ID] = l.Size
	}
	if _, ok := size[created]; !ok || len(left) != 2 || size[exited] <= 0 { // it wrote a file
		t.Fatalf("leftovers: %+v, want created and, with a size, exited", left)
	}
	for _, bad := range []string{"", "scratch", "=1"} {
		if l, err := e.Leftovers(ctx, bad); err == nil {
			t.Errorf("Leftovers(%q): %v, want an error", bad, l)
		}
	}
	if err := e.RemoveContainer(ctx, running); !errors.Is(err, ErrConflict) {
		t.Errorf("remove a running container: %v, want ErrConflict", err)
	}
	for _, l := range left {
		w.do("remove", e.RemoveContainer(ctx, l.ID))
	}
	if left, err := e.Leftovers(ctx, "scratch=1"); err != nil || len(left) != 0 {
		t.Errorf("leftovers after removal: %v, %v", left, err)
	}
}

// A removal leaves the volume alone, an anonymous one too.
func TestRemoveKeepsVolumes(t *testing.T) {
	w := newWorld(t)
	e := w.engine("")
	id := w.create(spec{bare: true, volume: "/data"})
	c, err := w.cli.ContainerInspect(t.Context(), id)
	w.do("inspect", err)
	name := c.Mounts[0].Name
	t.Cleanup(func() {
		if err := w.cli.VolumeRemove(context.Background(), name, false); err != nil {
			t.Errorf("the volume did not outlive its container: %v", err)
		}
	})
	w.do("remove", e.RemoveContainer(t.Context(), id))
}

func TestRoot(t *testing.T) {
	w := newWorld(t)
	root, err := w.engine("").Root(t.Context())
	info, want := w.cli.Info(t.Context())
	w.do("info", want)
	if err != nil || root != info.DockerRootDir {
		t.Errorf("Root() = %q, %v; want %q", root, err, info.DockerRootDir)
	}
}

func TestImages(t *testing.T) {
	w := newWorld(t)
	e, err := New(Options{Labels: []string{"stack=mine"}})
	w.do("engine", err)
	ctx := t.Context()
	w.create(spec{}) // not ours, but its image is in use all the same
	repo := fmt.Sprintf("ghostrunner-engine-test-%d", time.Now().UnixNano())
	tagged := w.newImage(repo+":one", "kind=tagged")
	for _, more := range []string{":two", "-other:one"} {
		w.do("tag", w.cli.ImageTag(ctx, tagged, repo+more))
	}
	dangling := w.newImage("", "kind=dangling")

	list, err := e.Images(ctx, w.label)
	w.do("images", err)
	byID := map[string]runner.Image{}
	for _, i := range list {
		byID[i.ID] = i
	}
	if len(list) != 3 {
		t.Fatalf("images: %+v, want 3", list)
	}
	if i := byID[w.image]; !i.InUse || !i.Dangling {
		t.Errorf("image of a container: %+v, want in use, dangling", i)
	}
	if i := byID[dangling]; i.InUse || !i.Dangling || i.Size <= 0 || i.Labels["kind"] != "dangling" || time.Since(i.Created) > patience {
		t.Errorf("dangling image: %+v", i)
	}
	i := byID[tagged]
	if age := time.Since(i.Used); age > patience || age < -patience {
		t.Errorf("named %s, want now", i.Used)
	}
	slices.Sort(i.Tags)
	if want := []string{repo + "-other:one", repo + ":one", repo + ":two"}; i.InUse || i.Dangling || !slices.Equal(i.Tags, want) {
		t.Errorf("tagged image: %+v, want tags %q", i, want)
	}
	if all, err := e.Images(ctx, ""); err != nil || len(all) < 3 {
		t.Errorf("all images: %d, %v", len(all), err)
	}
	if _, err := e.Images(ctx, "nonsense"); err == nil {
		t.Error("a label without value: no error")
	}

	if err := e.RemoveImage(ctx, w.image); !errors.Is(err, ErrInUse) {
		t.Errorf("remove an image in use: %v, want ErrInUse", err)
	}
	for _, id := range []string{tagged, dangling, dangling} {
		w.do("remove image", e.RemoveImage(ctx, id))
	}
	left, err := e.Images(ctx, w.label)
	w.do("images", err)
	if len(left) != 1 || left[0].ID != w.image {
		t.Errorf("left: %+v, want the image in use alone", left)
	}
}

// An image that another one is built on keeps its names.
func TestRemoveImageParent(t *testing.T) {
	w := newWorld(t)
	e := w.engine("")
	ctx := t.Context()
	ref := fmt.Sprintf("ghostrunner-engine-test-parent:%d", time.Now().UnixNano())
	w.do("tag", w.cli.ImageTag(ctx, w.image, ref))
	id := w.create(spec{bare: true})
	made, err := w.cli.ContainerCommit(ctx, id, container.CommitOptions{})
	w.do("commit", err)
	w.remove(id)
	if err := e.RemoveImage(ctx, w.image); !errors.Is(err, ErrConflict) {
		t.Errorf("remove a parent: %v, want ErrConflict", err)
	}
	if info, err := w.cli.ImageInspect(ctx, ref); err != nil || info.ID != w.image {
		t.Errorf("the parent's name is gone: %v", err)
	}
	w.do("remove child", e.RemoveImage(ctx, made.ID))
	w.do("remove parent", e.RemoveImage(ctx, w.image))
}

// A name that was moved to another image since it was read is not taken from that image.
func TestUntagMoved(t *testing.T) {
	w := newWorld(t)
	e := w.engine("")
	ref := fmt.Sprintf("ghostrunner-engine-test-moved:%d", time.Now().UnixNano())
	other := w.newImage(ref, "kind=other")
	w.do("untag", e.untag(t.Context(), ref, w.image))
	if info, err := w.cli.ImageInspect(t.Context(), ref); err != nil || info.ID != other {
		t.Errorf("the name is gone: %v", err)
	}
}

func TestNew(t *testing.T) {
	for _, o := range []Options{
		{Host: "/var/run/docker.sock"},
		{Labels: []string{"novalue"}},
		{Labels: []string{"=v"}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "docker ") {
			t.Errorf("New(%+v): %v, want an error that names the option", o, err)
		}
	}
	e, err := New(Options{Host: "unix:///nonexistent/docker.sock"})
	if err != nil {
		t.Fatalf("New dialed: %v", err)
	}
	if _, err := e.Root(t.Context()); err == nil {
		t.Error("Root without an engine: no error")
	}
}
