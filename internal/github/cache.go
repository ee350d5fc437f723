package github

import (
	"crypto/sha256"
	"sync"
)

// Bounds of the cache. 10,000 runners, the most that one scope can have, are 100 pages of 60 KB.
const (
	maxCacheEntries = 1024
	maxCacheBytes   = 32 << 20
)

// tokenHash identifies a token without keeping it.
type tokenHash [sha256.Size]byte

func hashToken(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// entry is a page to ask for conditionally. It is immutable, so a request keeps the body of its
// ETag even if the cache drops it meanwhile.
type entry struct {
	etag, link, contentType string
	body                    []byte
}

// cache keeps pages. A page without room is not kept. No older one makes room, because all pages
// are read in turn: a cache that drops the oldest would be useless as soon as one page has no room.
type cache struct {
	maxEntries, maxBytes int

	mu    sync.Mutex
	token tokenHash         // of all pages: GitHub's ETag depends on the token
	pages map[string]*entry // by URL
	bytes int
}

func newCache(maxEntries, maxBytes int) *cache {
	return &cache{maxEntries: maxEntries, maxBytes: maxBytes, pages: map[string]*entry{}}
}

func (c *cache) get(token tokenHash, url string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if token != c.token {
		return nil
	}
	return c.pages[url]
}

// put replaces a page, by nothing if the new one has no room. Those of a replaced token are of no
// use.
func (c *cache) put(token tokenHash, url string, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if token != c.token {
		c.token, c.bytes = token, 0
		clear(c.pages)
	}
	if old := c.pages[url]; old != nil {
		c.bytes -= len(old.body)
		delete(c.pages, url)
	}
	if len(c.pages) < c.maxEntries && c.bytes+len(e.body) <= c.maxBytes {
		c.pages[url] = e
		c.bytes += len(e.body)
	}
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.pages)
	c.bytes = 0
}
