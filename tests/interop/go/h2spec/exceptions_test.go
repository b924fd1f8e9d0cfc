package h2spec

// exceptions are the cases that this server does not pass, and why. One that passes, or that h2spec
// does not have by this name, fails the test.
var exceptions = map[string]struct{ name, reason string }{
	"http2/5.3.1/2": {"Sends PRIORITY frame that depend on itself",
		"the server says SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218 2.1) and ignores PRIORITY; " +
			"RFC 9113 has no such rule any more"},
}
