//go:build !race

package remedy

// slowdown divides what a test does by chance.
const slowdown = 1
