package runner

// Values of Registration.Status that GitHub documents.
const (
	StatusOnline  = "online"
	StatusOffline = "offline"
)

// Registration is one runner as GitHub lists it.
type Registration struct {
	ID       int64
	Name, OS string
	// Status is GitHub's word. Any word other than the two above is neither online nor offline.
	Status string
	Busy   bool
	Labels []string
}

// Online reports whether GitHub says that the runner is online.
func (r Registration) Online() bool { return r.Status == StatusOnline }

// Offline reports whether GitHub says that the runner is offline. An unknown status is not offline,
// so that it is no reason to act.
func (r Registration) Offline() bool { return r.Status == StatusOffline }

// JIT is a registration that was made just in time: one listener can use it, for one job.
type JIT struct {
	ID      int64
	Encoded string // for the listener's --jitconfig; a secret, it contains a private key
}
