// Rounds to one of the two neighbours in half precision, the nearer one more often, so that the mean is right.
#pragma once

namespace mexport {

// What half precision holds stays, and so do infinities and NaNs; what is beyond its largest number becomes that. Each
// thread has a generator, which begins with the same seed.
float RoundToHalfAtRandom(float value);

}  // namespace mexport
