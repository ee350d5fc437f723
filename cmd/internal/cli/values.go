package cli

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// What several programs read is parsed here. An error quotes the value and says what it is not.

// Stray returns what a text editor or a shell has added to a value that has no white space, and the
// remedy; empty if there is nothing.
func Stray(value string) (what, remedy string) {
	switch {
	case strings.Contains(value, "\r"):
		return "ends in a carriage return", "convert .env from Windows line ends with dos2unix"
	case strings.ContainsAny(value, "\"'"):
		return "contains quotes: " + strconv.Quote(value), "remove them; Compose passes them on"
	case strings.ContainsAny(value, " \t\n"):
		return "contains white space: " + strconv.Quote(value), "remove it"
	default:
		return "", ""
	}
}

// List splits a value at commas, without empty items and repetitions.
func List(value string) []string {
	var list []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" && !slices.Contains(list, item) {
			list = append(list, item)
		}
	}
	return list
}

// Number parses a whole number within bounds.
func Number(value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q is not a number from %d to %d", value, least, most)
	}
	return n, nil
}

// Positive parses a number greater than 0.
func Positive(value string) (float64, error) {
	v, err := strconv.ParseFloat(value, 64)
	if err != nil || !(v > 0) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is not a number greater than 0", value)
	}
	return v, nil
}

// Bounds of GitHub.
const (
	maxLabels      = 100
	maxLabelLength = 256
)

// Labels parses the labels of a runner.
func Labels(value string) ([]string, error) {
	labels := List(value)
	tooLong := func(label string) bool { return len(label) > maxLabelLength }
	if len(labels) == 0 || len(labels) > maxLabels || slices.ContainsFunc(labels, tooLong) {
		return nil, fmt.Errorf("%q is not a list of 1 to %d labels", value, maxLabels)
	}
	return labels, nil
}

// NameServers parses a list of IP addresses; "none" is the empty one.
func NameServers(value string) ([]netip.Addr, error) {
	var servers []netip.Addr
	for _, item := range List(strings.TrimPrefix(value, "none")) {
		server, err := netip.ParseAddr(item)
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP address", item)
		}
		servers = append(servers, server)
	}
	return servers, nil
}
