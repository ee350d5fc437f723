package main

import (
	"slices"
	"testing"
)

func TestListsAreCopiedOnce(t *testing.T) {
	var c copied[int, int]
	calls := 0
	double := func(i *int) int { calls++; return 2 * *i }
	list := []int{1, 2, 3}
	for _, tc := range []struct {
		from, want []int
		calls      int
	}{
		{list, []int{2, 4, 6}, 3}, {list, []int{2, 4, 6}, 3}, // the same
		{list[:2], []int{2, 4}, 5}, {[]int{1, 2}, []int{2, 4}, 7}, // shorter; another
		{nil, nil, 7}, {list, []int{2, 4, 6}, 10},
	} {
		if got := c.of(tc.from, double); !slices.Equal(got, tc.want) || calls != tc.calls {
			t.Errorf("of(%v) = %v after %d conversions, want %v after %d", tc.from, got, calls, tc.want, tc.calls)
		}
	}
}
