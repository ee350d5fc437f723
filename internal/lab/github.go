package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// GitHubOptions configures a simulated GitHub.
type GitHubOptions struct {
	// Token returns the only personal access token that is accepted. It is called for each request.
	Token func() (string, error)
	// TokenExpiry is announced in each answer (GitHub-Authentication-Token-Expiration); after it
	// the answer is 401. Zero: never.
	TokenExpiry time.Time
	// Owner and Repo are the only scopes that exist: the repository, and the organization and
	// enterprise named Owner. Owner empty: every scope exists. Repo empty: every repository of
	// Owner exists.
	Owner, Repo string
	// OfflineAfter is how long after its last poll a runner counts as online. Default 30 s.
	OfflineAfter time.Duration
	// TimeScale multiplies the service's delays: long poll 50 s, pick-up 60 s, lock 10 min. Default
	// 1.
	TimeScale float64
	// JobsEvery is the interval at which a job of JobsDuration is queued while fewer than eight
	// wait. Zero: never.
	JobsEvery, JobsDuration time.Duration
	Logger                  *slog.Logger
}

// GitHub is the simulated GitHub: an http.Handler with the REST API (also under /api/v3/, as on
// GitHub Enterprise Server), the broker for listeners and the lab's own /lab/v1 API.
type GitHub struct {
	opts  GitHubOptions
	world *world
	mux   *http.ServeMux
	key   rsaParams

	mu       sync.Mutex
	requests map[int]uint64 // REST answers by status code
	calls    []Call         // the newest maxCalls
	jits     []string       // the newest maxHandedOut
	used     int            // quota used in this hour
	reset    time.Time      // end of the hour
}

// NewGitHub returns a simulated GitHub. Serve it and call Run.
func NewGitHub(opts GitHubOptions) (*GitHub, error) {
	if opts.Token == nil {
		return nil, errors.New("simulated GitHub: no token")
	}
	if opts.OfflineAfter <= 0 {
		opts.OfflineAfter = 30 * time.Second
	}
	if opts.TimeScale <= 0 {
		opts.TimeScale = 1
	}
	if opts.JobsDuration <= 0 {
		opts.JobsDuration = 10 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	key, err := sharedKey()
	if err != nil {
		return nil, err
	}
	g := &GitHub{
		opts: opts, world: newWorld(opts.TimeScale, opts.OfflineAfter), mux: http.NewServeMux(),
		key: key, requests: map[int]uint64{},
	}
	rest := g.restRoutes()
	g.mux.Handle("/", rest)
	g.mux.Handle("/api/v3/", http.StripPrefix("/api/v3", rest))
	g.brokerRoutes(g.mux)
	g.labRoutes(g.mux)
	return g, nil
}

// ServeHTTP implements http.Handler.
func (g *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	g.mux.ServeHTTP(w, r)
}

// Run applies the service's timeouts and queues jobs until ctx ends.
func (g *GitHub) Run(ctx context.Context) error {
	sweep := time.NewTicker(max(time.Second/10, min(time.Second, g.world.scaled(time.Second))))
	defer sweep.Stop()
	var jobs <-chan time.Time
	if g.opts.JobsEvery > 0 {
		t := time.NewTicker(g.opts.JobsEvery)
		defer t.Stop()
		jobs = t.C
	}
	for n := 1; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			g.world.mu.Lock()
			g.world.sweepLocked(worldNow())
			g.world.mu.Unlock()
		case <-jobs:
			if g.waiting() >= 8 {
				continue
			}
			job := Job{Name: "build (" + strconv.Itoa(n) + ")", Wanted: "Succeeded", duration: g.opts.JobsDuration}
			if _, err := g.world.enqueue(job, worldNow()); err != nil {
				return fmt.Errorf("enqueue: %w", err)
			}
			n++
		}
	}
}

func (g *GitHub) waiting() int {
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	return len(g.world.queued)
}

// bearer returns the credential of a request: "Bearer X" or "token X".
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "token") {
		return strings.TrimSpace(token)
	}
	return ""
}
