//! Helpers of the black-box suites.
