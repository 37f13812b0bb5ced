/**
 * A certificate for 127.0.0.1 and localhost that nobody but itself has signed, as management controllers have them. Its key is
 * public: it is good for tests on the loopback and for nothing else.
 */
export const fakeCertificate: string = `-----BEGIN CERTIFICATE-----
MIIBuzCCAWCgAwIBAgIUGCnbtaTxycZDoNa/c/b8Nu8fHJgwCgYIKoZIzj0EAwIw
JTEjMCEGA1UEAwwaZmFrZSBtYW5hZ2VtZW50IGNvbnRyb2xsZXIwIBcNMjYxMTI2
MjIyMTIwWhgPMjEyNjExMDIyMjIxMjBaMCUxIzAhBgNVBAMMGmZha2UgbWFuYWdl
bWVudCBjb250cm9sbGVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3NtdX+M7
+gN0VyRPcrhIishfN9PiWmnWwdQW+dNgcbgJ+zqYcq+gfO6iBwTVJapkiCMhLieD
Qz0KqX+OWnczXqNsMGowHQYDVR0OBBYEFNZlO2WcCggkZiQq0q7WuO09N+GlMB8G
A1UdIwQYMBaAFNZlO2WcCggkZiQq0q7WuO09N+GlMBoGA1UdEQQTMBGHBH8AAAGC
CWxvY2FsaG9zdDAMBgNVHRMBAf8EAjAAMAoGCCqGSM49BAMCA0kAMEYCIQCg/kwj
+7PldqmIpyYURMHlrzJqm1TUvR8lmBT4I3wvAQIhAIb8t4UQ/0WcMngWf6zUcOyN
daKmAxVjTVtkClR0bYHc
-----END CERTIFICATE-----
`

/** The key of {@link fakeCertificate}. */
export const fakeCertificateKey: string = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgI30ATGzdg/HQBnFS
KkFcsiPKhZn1QxZ46o2fYUsCMxehRANCAATc211f4zv6A3RXJE9yuEiKyF830+Ja
adbB1Bb502BxuAn7Ophyr6B87qIHBNUlqmSIIyEuJ4NDPQqpf45adzNe
-----END PRIVATE KEY-----
`
