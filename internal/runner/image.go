package runner

import "time"

// Image is one image of the engine.
type Image struct {
	ID string
	// Tags are its names, such as app:1.2; empty if dangling.
	Tags []string
	// Size in bytes, without the layers that it shares with other images. An engine before API 1.42
	// does not report these.
	Size    int64
	Created time.Time
	// Used is when it was last given a name, as by a pull or a build; zero if it has none, is in
	// use, or is not known.
	Used   time.Time
	Labels map[string]string
	// Dangling: it has no name.
	Dangling bool
	// InUse: some container of the engine, running or not, ours or not, is made from it.
	InUse bool
}

// Leftover is a container that has ended or never started, and that is not a runner or service.
type Leftover struct {
	ID, Name string
	Created  time.Time
	// Size is what its own layer holds, in bytes: what a removal would free.
	Size int64
}
