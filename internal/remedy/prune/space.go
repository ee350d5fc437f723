package prune

import (
	"fmt"
	"math"
	"strconv"
)

// Labels of an alert that asks for a prune. CONTRACT: they are public names.
const (
	LabelThreshold = "threshold_bytes"
	LabelTarget    = "target_bytes"
)

// floor is the free space in bytes below which the disk is all but full: a prune then goes on while
// a job runs. It is the remediator's own limit, because the author of an alert must not be able to
// move it.
const floor uint64 = 2e9

// Space is a quantity of the disk in bytes: what is measured of it, and what is wanted.
type Space struct {
	// Free is what an unprivileged user may still use, Size all that there is.
	Free, Size uint64
	// Threshold is the free space below which a prune is wanted, Target the one at which it ends.
	Threshold, Target uint64
}

// Measure is how much is free and how large the disk below a path is.
type Measure func(path string) (free, size uint64, err error)

// Wanted returns the space that the labels of an alert ask for; nothing is measured yet.
func Wanted(labels map[string]string) (Space, error) {
	var s Space
	var err error
	if s.Threshold, err = number(labels, LabelThreshold); err != nil {
		return s, err
	}
	if s.Target, err = number(labels, LabelTarget); err != nil {
		return s, err
	}
	if s.Threshold > s.Target {
		return s, fmt.Errorf("label %s=%d is above %s=%d: a prune would end before it begins",
			LabelThreshold, s.Threshold, LabelTarget, s.Target)
	}
	return s, nil
}

func number(labels map[string]string, name string) (uint64, error) {
	v, err := strconv.ParseFloat(labels[name], 64)
	if err != nil || !(v > 0) || v > math.MaxInt64 {
		return 0, fmt.Errorf("label %s=%q: want a number of bytes", name, labels[name])
	}
	return uint64(v), nil
}

// Check returns why the labels cannot be meant for this disk: a prune that is to free more than
// half of it would remove everything.
func (s Space) Check() error {
	if s.Target > s.Size/2 {
		return fmt.Errorf("label %s=%d is more than half of the disk of %d bytes", LabelTarget, s.Target, s.Size)
	}
	return nil
}

// Short reports whether a prune is wanted.
func (s Space) Short() bool { return s.Free < s.Threshold }

// AlmostFull reports whether a prune goes on while a job runs.
func (s Space) AlmostFull() bool { return s.Free < floor }

// goal is the free space at which a prune ends; while a job runs that is a little above the floor.
func (s Space) goal(busy bool) uint64 {
	if busy {
		return min(s.Target, floor/5*6)
	}
	return s.Target
}

// String says what is measured and wanted.
func (s Space) String() string {
	return fmt.Sprintf("%d bytes are free, threshold is %d", s.Free, s.Threshold)
}
