// This file holds the number by which the lines of one request are found.

package svclog

import "go.uber.org/zap"

// threads is the number of different thread numbers.
const threads = 99999

// Thread returns the number in <NN> on all lines of one request: a hash of its id from
// 1 to 99999, or 0 without an id. Veeam writes the managed thread there, which may
// differ between a request and its response. Here both always have the same number, and
// two requests at the same time have the same one only by chance.
func Thread(requestID string) uint32 {
	if requestID == "" {
		return 0
	}
	hash := uint32(2166136261) // FNV-1a
	for i := range len(requestID) {
		hash ^= uint32(requestID[i])
		hash *= 16777619
	}
	return hash%threads + 1
}

// ThreadKey is the key of the log field with the thread of a sentence.
const ThreadKey = "thread"

// ThreadField returns the log field with the thread of the request that a sentence
// belongs to.
func ThreadField(thread uint32) zap.Field { return zap.Uint32(ThreadKey, thread) }
