package machine

import "testing"

// Machines run beside one another: each one's control groups are its own, and stay the same for its folder.
func TestControlGroupsAreApart(t *testing.T) {
	one, other := Options{Dir: "/a"}.cgroupParent(), Options{Dir: "/b"}.cgroupParent()
	if one == other || one != (Options{Dir: "/a"}).cgroupParent() {
		t.Errorf("%s and %s", one, other)
	}
}
