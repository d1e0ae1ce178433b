// What the page calls things; the keys are the API's words.

export const VERDICTS = {
  hard: "Hard",
  easy: "Easy",
  teacher_doubt: "Teacher in doubt",
  teacher_several: "Teacher saw several",
  teacher_none: "Teacher saw nobody",
  near_duplicate: "Near duplicate",
  cut_by_frame: "Cut by the frame",
  blurred: "Blurred",
  too_soon: "Too soon",
  no_person: "No person",
  several_people: "Several people",
  no_head: "No head",
  no_hands: "No hands",
  no_feet: "No feet",
  failed: "Failed",
};

export const POSES = {
  upright_front: "Upright, front",
  upright_turned: "Upright, turned",
  bent: "Bent",
  crouched: "Crouched",
  sitting: "Sitting",
  inverted: "Inverted",
  lying: "Lying",
  arms_raised: "Arms raised",
  small: "Small in frame",
};

export const REVIEWS = { open: "Open", kept: "Kept", rejected: "Rejected", disputed: "Disputed" };

export const DECISIONS = { keep: "keeps it", reject: "rejects it", withdraw: "takes back the decision" };

export const VIEWS = { side: "Side by side", overlay: "Overlay", blink: "Blink", difference: "Difference" };

const whole = new Intl.NumberFormat("en-GB");

/** 12345 as "12,345". */
export const count = (number) => whole.format(number);

/** "1 frame", "12,345 frames". */
export const frames = (number) => `${count(number)} frame${number === 1 ? "" : "s"}`;

/** 83450 ms as "1:23.45". */
export function clock(ms) {
  const hundredths = Math.floor(ms / 10);
  const [hours, minutes] = [Math.floor(hundredths / 360000), Math.floor(hundredths / 6000) % 60];
  const seconds = ((hundredths % 6000) / 100).toFixed(2).padStart(5, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
}

/** A ratio to two digits; "–" for none. Rounded down: 0.4996 is below a threshold of 0.50 and must not read so. */
export const ratio = (value) => (value === null || value === undefined ? "–" : (Math.floor(value * 100 + 1e-9) / 100).toFixed(2));

/** A measure: whole numbers whole, else three digits. */
export function measure(value) {
  if (!Number.isFinite(value)) return "–";
  if (Number.isInteger(value)) return count(value);
  return Math.abs(value) >= 100 ? value.toFixed(1) : value.toPrecision(3);
}

/** "edge_contact" as "Edge contact". */
export const plain = (key) => key.charAt(0).toUpperCase() + key.slice(1).replaceAll("_", " ");
